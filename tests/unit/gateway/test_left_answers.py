"""Answers that are left to Envoy: the calls end, and its access log says the rest."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.envoy_parts import ScriptedHandler

from routewright.gateway import left_answers
from routewright.gateway._proto.access_log_pb2 import (
    AccessLogCommon,
    HTTPAccessLogEntry,
    HTTPResponseProperties,
    StreamAccessLogsMessage,
)
from routewright.gateway._proto.ext_proc_pb2 import (
    HeaderMap,
    HttpBody,
    HttpHeaders,
    ProcessingMode,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from routewright.gateway.exchange import AnswerTold, Outcome
from routewright.gateway.ext_proc import SERVICE, ExtProcServer, ExtProcSettings
from routewright.gateway.guarded import GuardedHandler
from routewright.gateway.left_answers import ACCESS_LOG, LeftAnswers
from routewright.gateway.unwatched import ANSWER_KEY, ANSWER_NAMESPACE, ANSWERS, UNWATCHED

SOON_S = 5.0
TOLD = {"x-vsr-selected-model": "small"}
SAYS = ((ANSWERS, UNWATCHED),)
BODY = ProcessingRequest(request_body=HttpBody(body=b"{}", end_of_stream=True))


class Scene:
    """A server and what its handlers were told."""

    def __init__(self, **settings: Any) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.told: dict[str, AnswerTold] = {}
        self.server = ExtProcServer(
            lambda: ScriptedHandler(self.outcomes, told=self.told),
            ExtProcSettings(port=0, **settings),
        )
        self.channel: Any = None

    def play(self, act: Callable[["Scene"], Awaitable[None]]) -> None:
        async def run() -> None:
            port = await self.server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
                await asyncio.wait_for(act(self), 2 * SOON_S)
            await self.server.stop()

        asyncio.run(run())

    async def request(
        self,
        name: str,
        says: Any = SAYS,
        mode: ProcessingMode.BodySendMode = ProcessingMode.BUFFERED,
    ) -> tuple[Any, list[ProcessingResponse]]:
        """The call of one request, and the replies about its headers and body."""
        call = self.channel.stream_stream(
            f"/{SERVICE}/Process",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )(metadata=says)
        headers = HeaderMap()
        headers.headers.add(key="x-script", raw_value=name.encode())
        modes = ProtocolConfiguration(
            request_body_mode=mode, response_body_mode=ProcessingMode.STREAMED
        )
        first = ProcessingRequest(
            request_headers=HttpHeaders(headers=headers), protocol_config=modes
        )
        await call.write(first)
        replies = [] if mode == ProcessingMode.FULL_DUPLEX_STREAMED else [await call.read()]
        await call.write(BODY)
        return call, [*replies, await call.read()]

    def log(self) -> Any:
        """A stream of Envoy's access log."""
        return self.channel.stream_unary(
            f"/{ACCESS_LOG}/StreamAccessLogs",
            request_serializer=StreamAccessLogsMessage.SerializeToString,
            response_deserializer=bytes,
        )()


def scripted(name: str, **fields: Any) -> str:
    return json.dumps({"name": name, "left": TOLD, **fields})


def metadata_of(reply: ProcessingResponse) -> dict[str, str]:
    fields = reply.dynamic_metadata.fields[ANSWER_NAMESPACE].struct_value.fields
    return {name: value.string_value for name, value in fields.items()}


def key_of(reply: ProcessingResponse) -> str:
    return metadata_of(reply)[ANSWER_KEY]


def entry(key: str, *, status: int = 200, details: str = "via_upstream", **flags: bool) -> Any:
    made = HTTPAccessLogEntry(
        common_properties=AccessLogCommon(response_flags=flags),
        response=HTTPResponseProperties(response_code_details=details),
    )
    made.response.response_code.value = status
    made.common_properties.duration.FromMilliseconds(1250)
    metadata = made.common_properties.metadata.filter_metadata[ANSWER_NAMESPACE]
    metadata.fields[ANSWER_KEY].string_value = key
    return made


def message(*entries: HTTPAccessLogEntry) -> StreamAccessLogsMessage:
    return StreamAccessLogsMessage(http_logs={"log_entry": entries})


async def heard(outcomes: dict[str, Outcome], name: str) -> Outcome:
    async with asyncio.timeout(SOON_S):
        while name not in outcomes:
            await asyncio.sleep(0.01)
    return outcomes[name]


def test_the_call_ends_with_the_headers_for_an_envoy_that_adds_them() -> None:
    async def act(scene: Scene) -> None:
        call, (_, reply) = await scene.request(scripted("a"))
        fields = metadata_of(reply)
        assert len(fields.pop(ANSWER_KEY)) == 16
        assert fields == TOLD
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert scene.outcomes == {}

    Scene().play(act)


@pytest.mark.parametrize(
    ("says", "mode", "fields"),
    [
        ((), ProcessingMode.BUFFERED, {}),
        (((ANSWERS, "other"),), ProcessingMode.BUFFERED, {}),
        (SAYS, ProcessingMode.FULL_DUPLEX_STREAMED, {}),
        (SAYS, ProcessingMode.BUFFERED, {"left": None}),
    ],
    ids=["says nothing", "says something else", "full duplex", "has to be seen"],
)
def test_other_answers_are_watched(says: Any, mode: Any, fields: dict[str, Any]) -> None:
    async def act(scene: Scene) -> None:
        call, replies = await scene.request(scripted("a", **fields), says, mode)
        assert not any(reply.HasField("dynamic_metadata") for reply in replies)
        if mode == ProcessingMode.FULL_DUPLEX_STREAMED:
            await call.read()
        await call.write(ProcessingRequest(response_headers=HttpHeaders(end_of_stream=True)))
        assert (await call.read()).HasField("response_headers")
        await call.done_writing()
        assert await heard(scene.outcomes, scripted("a", **fields)) is Outcome.COMPLETE
        assert scene.told == {}

    Scene().play(act)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, Outcome.COMPLETE),
        ({"status": 500}, Outcome.COMPLETE),
        ({"status": 0, "details": ""}, Outcome.BROKEN),
        ({"downstream_connection_termination": True}, Outcome.ABORTED),
        ({"details": "", "downstream_remote_reset": True}, Outcome.ABORTED),
        ({"details": "upstream_reset_after_response_started"}, Outcome.BROKEN),
        ({"details": "stream_idle_timeout", "stream_idle_timeout": True}, Outcome.BROKEN),
        ({"status": 503, "details": "no_healthy_upstream"}, Outcome.BROKEN),
    ],
)
def test_the_log_says_how_an_answer_ended(fields: dict[str, Any], outcome: Outcome) -> None:
    async def act(scene: Scene) -> None:
        _, (_, reply) = await scene.request(scripted("a"))
        log = scene.log()
        await log.write(message(entry("unknown"), entry(key_of(reply), **fields)))
        assert await heard(scene.outcomes, scripted("a")) is outcome
        status = fields.get("status", 200) or None
        assert scene.told == {scripted("a"): AnswerTold(status=status, duration_s=1.25)}
        await log.write(message(entry(key_of(reply))))  # a second time it means nothing
        await log.done_writing()
        assert await log == b""

    Scene().play(act)


def test_a_stop_waits_for_what_the_log_has_to_say() -> None:
    async def act(scene: Scene) -> None:
        _, (_, reply) = await scene.request(scripted("a"))
        log = scene.log()
        await log.write(message(entry("unknown")))
        await log.wait_for_connection()
        stopping = asyncio.ensure_future(scene.server.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        await log.write(message(entry(key_of(reply))))
        await stopping
        assert scene.outcomes == {scripted("a"): Outcome.COMPLETE}
        assert await log.code() is grpc.StatusCode.OK

    Scene().play(act)


def test_a_stop_does_not_wait_where_nothing_can_be_heard() -> None:
    async def act(scene: Scene) -> None:
        await scene.request(scripted("a"))
        await scene.server.stop()
        assert scene.outcomes == {scripted("a"): Outcome.UNSEEN}

    Scene().play(act)


def test_a_log_that_cannot_be_read_ends_with_an_error_and_nothing_of_it() -> None:
    async def act(scene: Scene) -> None:
        call = scene.channel.stream_unary(f"/{ACCESS_LOG}/StreamAccessLogs")()
        await call.write(b"\xff canary-7f3a")
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert await call.details() == "the message cannot be read"

    Scene().play(act)


def test_what_is_never_told_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_answers, "_MAX_WAITING", 2)
    outcomes: dict[str, Outcome] = {}
    left = LeftAnswers()
    for name in "abc":
        left.leave(name, GuardedHandler(ScriptedHandler(outcomes, name), "closed"))
    assert outcomes == {"a": Outcome.UNSEEN}
    monkeypatch.setattr(left_answers, "_PATIENCE_S", 0.0)
    left.leave("d", GuardedHandler(ScriptedHandler(outcomes, "d"), "closed"))
    assert outcomes == dict.fromkeys("abcd", Outcome.UNSEEN)
