"""Choosing among the servers of a model: draw, retries, ejection, models standing by."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.http_parts import (
    Received,
    hang_up,
    listening,
    play,
    says,
    silence,
    to,
)
from tests.upstream_parts import REFUSING, REQUEST, Bystanders, ask, opened, said

from routewright.errors import UpstreamError, UpstreamTimeoutError
from routewright.gateway.exchange import Forward, Immediate
from routewright.gateway.settings import HttpUpstream
from routewright.gateway.telemetry import Telemetry, Vocabulary
from routewright.gateway.upstream import UpstreamAnswer, Upstreams
from routewright.policy.settings import Endpoint

SHARES = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4)


def endpoints(weights: Sequence[float]) -> list[Endpoint]:
    return [Endpoint(url=f"http://host-{i}", weight=w) for i, w in enumerate(weights)]


@given(SHARES, st.integers(0, 3))
def test_every_endpoint_with_a_weight_is_tried_once_and_no_other(
    weights: list[float], num_without: int
) -> None:
    upstreams = Upstreams(HttpUpstream(), Telemetry())
    given_endpoints = endpoints([*weights, *[0.0] * num_without])
    drawn = upstreams.order(given_endpoints)
    assert sorted(e.url for e in drawn) == sorted(e.url for e in given_endpoints if e.weight)


def test_the_first_endpoint_is_drawn_by_weight() -> None:
    upstreams = Upstreams(HttpUpstream(), Telemetry())
    first = Counter(upstreams.order(endpoints([1.0, 3.0]))[0].url for _ in range(4000))
    assert 0.70 < first["http://host-1"] / 4000 < 0.80  # 7 standard deviations either way


def test_path_query_and_prefix_reach_the_server_as_they_were() -> None:
    async def scene() -> None:
        async with listening(says(b"ok")) as server, opened() as upstreams:
            prefixed = Endpoint(url=f"{server.endpoint.url}/team-a/")
            assert await ask(upstreams, to(prefixed)) == (200, b"ok")
            assert server.requests[0].target == "/team-a/v1/x?y=%2F"
            assert server.requests[0].values("host") == [f"127.0.0.1:{server.port}".encode()]

    play(scene)


def test_a_server_that_refuses_connections_is_passed_over_then_tried_last() -> None:
    async def scene() -> None:
        async with listening(says(b"ok")) as server, opened(eject_s=60.0) as upstreams:
            unlikely = Endpoint(url=server.endpoint.url, weight=1e-9)
            route = to(REFUSING, unlikely)
            assert await ask(upstreams, route) == (200, b"ok")
            assert [e.url for e in upstreams.order(route.endpoints)][-1] == REFUSING.url

    play(scene)


def test_an_ejected_server_is_drawn_again_after_its_time() -> None:
    async def scene() -> None:
        async with listening(says(b"ok")) as server, opened(eject_s=0.02) as upstreams:
            route = to(REFUSING, Endpoint(url=server.endpoint.url, weight=1e-9))
            await ask(upstreams, route)
            await asyncio.sleep(0.03)
            assert upstreams.order(route.endpoints)[0] == REFUSING

    play(scene)


@pytest.mark.parametrize("status", [429, 503])
def test_a_status_meant_for_it_sends_the_request_to_the_next_server(status: int) -> None:
    async def scene() -> None:
        async with (
            listening(says(b"busy", f"{status} Busy")) as busy,
            listening(says(b"ok")) as free,
            opened() as upstreams,
        ):
            route = to(busy, Endpoint(url=free.endpoint.url, weight=1e-9))
            assert await ask(upstreams, route) == (200, b"ok")
            assert [len(busy.requests), len(free.requests)] == [1, 1]
            assert busy.requests[0].body == free.requests[0].body == b"{}"

    play(scene)


@pytest.mark.parametrize("status", [400, 401, 404, 500, 502, 504])
def test_other_errors_of_a_server_are_its_answer(status: int) -> None:
    async def scene() -> None:
        async with listening(says(b"no", f"{status} No")) as server, opened() as upstreams:
            stand_by = Bystanders()
            assert await ask(upstreams, to(server, server), stand_by) == (status, b"no")
            assert (len(server.requests), stand_by.asked) == (1, 0)

    play(scene)


def test_an_operator_may_have_other_statuses_tried_again() -> None:
    async def scene() -> None:
        settings = {"retry_statuses": (502,)}
        async with listening(says(b"no", "502 No")) as server, opened(**settings) as upstreams:
            assert await ask(upstreams, to(server, server)) == (502, b"no")
            assert len(server.requests) == 2

    play(scene)


def test_without_a_better_answer_the_latest_bad_one_is_passed_on() -> None:
    async def scene() -> None:
        busy = says(b"later", "429 Busy", "retry-after: 7\r\n")
        async with listening(busy) as server, opened() as upstreams:
            answer = await upstreams.reach(REQUEST, to(server, REFUSING), Bystanders())
            assert isinstance(answer, UpstreamAnswer)
            assert dict(answer.headers)[b"retry-after"] == b"7"
            assert await said(answer) == (429, b"later")

    play(scene)


def test_tries_are_limited_over_all_models() -> None:
    async def scene() -> None:
        async with listening(says(b"busy", "503 Busy")) as server, opened() as upstreams:
            stand_by = Bystanders(*[to(server, server)] * 9)
            assert await ask(upstreams, to(server), stand_by) == (503, b"busy")
            assert len(server.requests) == HttpUpstream().max_attempts

    play(scene)


def test_a_model_standing_by_answers_with_its_own_body() -> None:
    async def scene() -> None:
        async with listening(says(b"ok")) as server, opened() as upstreams:
            stand_by = Bystanders(to(server, body=b"for standby", model="standby"))
            assert await ask(upstreams, to(REFUSING), stand_by) == (200, b"ok")
            assert server.requests[0].body == b"for standby"

    play(scene)


def test_the_handler_may_answer_when_nobody_does() -> None:
    async def scene() -> None:
        async with opened() as upstreams:
            stand_by = Bystanders(Immediate(status=503, body=b"none"))
            assert await ask(upstreams, to(REFUSING), stand_by) == (503, b"none")

    play(scene)


@pytest.mark.parametrize("route", [to(), to(REFUSING)], ids=["no server", "none reachable"])
def test_no_answer_at_all_is_an_error(route: Forward) -> None:
    async def scene() -> None:
        async with opened() as upstreams:
            with pytest.raises(UpstreamError) as raised:
                await ask(upstreams, route)
            assert raised.value.code == "upstream"

    play(scene)


@pytest.mark.parametrize(
    ("answer", "error"), [(silence, UpstreamTimeoutError), (hang_up, UpstreamError)]
)
def test_a_server_that_took_the_request_and_failed_is_not_followed_by_another(
    answer: Any, error: type[UpstreamError]
) -> None:
    async def scene() -> None:
        limits = {"idle_timeout_s": 0.1, "connect_timeout_s": 0.1}
        async with listening(answer) as server, opened(**limits) as upstreams:
            stand_by = Bystanders(to(server))
            with pytest.raises(UpstreamError) as raised:
                await ask(upstreams, to(server, server), stand_by)
            assert type(raised.value) is error
            assert (len(server.requests), stand_by.asked) == (1, 0)

    play(scene)


def test_cookies_and_redirects_are_the_clients_business() -> None:
    async def scene() -> None:
        moved = says(b"", "307 Moved", "location: /other\r\nset-cookie: a=1\r\n")
        async with listening(moved) as server, opened() as upstreams:
            for _ in range(2):
                assert (await ask(upstreams, to(server)))[0] == 307
            assert [r.target for r in server.requests] == ["/v1/x?y=%2F"] * 2
            assert not server.requests[1].values("cookie")

    play(scene)


def dying(head: bytes) -> Callable[..., Any]:
    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        writer.close()

    return answer


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["sized", "chunked"],
)
def test_a_body_that_breaks_off_is_an_error(head: bytes) -> None:
    async def scene() -> None:
        async with listening(dying(head)) as server, opened() as upstreams:
            with pytest.raises(UpstreamError):
                await ask(upstreams, to(server))

    play(scene)


def test_what_is_not_http_is_an_error() -> None:
    async def scene() -> None:
        async with listening(dying(b"SSH-2.0-x\r\n\r\n")) as server, opened() as upstreams:
            with pytest.raises(UpstreamError):
                await ask(upstreams, to(server))

    play(scene)


def test_requests_are_counted_by_model_and_status() -> None:
    async def scene() -> None:
        telemetry = Telemetry(Vocabulary(models=["m"]))
        upstreams = Upstreams(HttpUpstream(), telemetry)
        upstreams.start()
        async with listening(says(b"ok")) as server:
            await ask(upstreams, to(REFUSING, Endpoint(url=server.endpoint.url, weight=1e-9)))
        await upstreams.close()
        text = telemetry.render().decode()
        for status in ("2xx", "none"):
            line = f'upstream_requests_total{{model="m",status_class="{status}"}} 1.0'
            assert f"routewright_{line}" in text
        assert 'routewright_upstream_first_byte_seconds_count{model="m"} 1.0' in text

    play(scene)
