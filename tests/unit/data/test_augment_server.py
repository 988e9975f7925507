"""What a server of language models may do wrong, and what is said about it."""

import threading
from pathlib import Path

import pytest
from starlette.responses import Response
from tests.augment_parts import ROWS, augment, config, endpoint
from tests.writing_server import (
    KEY,
    Asked,
    Writer,
    WritingServer,
    completion,
    failure,
    fresh_texts,
)

from routewright.data.augment import Endpoint, augment_rows
from routewright.errors import ConfigError, DataError


def test_a_busy_server_is_asked_again_after_the_time_it_names(
    writing: WritingServer, tmp_path: Path
) -> None:
    troubles = iter([
        failure(429, retry_after="0.02"), failure(500), failure(503, retry_after="soon"),
        failure(408, retry_after="Thu, 01 Jan 1970 00:00:00 GMT"),
    ])  # fmt: skip
    lock = threading.Lock()

    def writer(asked: Asked) -> str | Response:
        with lock:
            return next(troubles, None) or fresh_texts(asked)

    writing.writer = writer
    report = augment(writing, tmp_path / "o.jsonl", labels=("class_1",), num=10)
    assert (report.num_requests, report.num_retries) == (5, 4)
    assert report.made == {"class_1": 10}


def test_a_server_that_asks_for_an_hour_is_not_waited_for(
    writing: WritingServer, tmp_path: Path
) -> None:
    writing.writer = lambda _: failure(429, "quota", retry_after="3600")
    with pytest.raises(
        DataError, match=r"failed 1 time and asks to wait 3600 s, last with 429"
    ):
        augment(writing, tmp_path / "o.jsonl", concurrency=1)
    assert list(tmp_path.iterdir()) == []


def test_no_more_requests_run_at_a_time_than_allowed(
    writing: WritingServer, tmp_path: Path
) -> None:
    writing.delay_s = 0.02
    augment(writing, tmp_path / "o.jsonl", num=60, concurrency=3)
    assert writing.most_under_way == 3


def every(answer: str | Response) -> Writer:
    return lambda _: answer


@pytest.mark.parametrize(
    ("writer", "last"),
    [
        (every("Sure! Here are some texts."), "no JSON list"),
        (every("[]"), "an empty list"),
        (every('["", 1]'), "not a text"),
        (every(completion('["cut', reason="length")), "cut off at the server's limit"),
        (every(completion(None)), "no JSON list"),
        (every(failure(400, "filtered")), "refused by the server with 400: filtered"),
    ],
)
def test_a_model_whose_answers_never_parse_is_given_up_soon(
    writing: WritingServer, tmp_path: Path, writer: Writer, last: str
) -> None:
    writing.writer = writer
    with pytest.raises(DataError, match="none of the first 5 answers could be used") as caught:
        augment(writing, tmp_path / "o.jsonl", concurrency=1)
    assert last in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(writing.asked) == 5
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_sent_and_occurs_in_no_message(
    writing: WritingServer, tmp_path: Path
) -> None:
    writing.key = KEY
    good = endpoint(writing, api_key=KEY, api_key_env="MY_KEY", temperature=0.5)
    augment_rows(ROWS, config(num=1), good, out=tmp_path / "o.jsonl")
    assert {asked.headers["authorization"] for asked in writing.asked} == {f"Bearer {KEY}"}
    assert {asked.body["temperature"] for asked in writing.asked} == {0.5}
    assert KEY not in repr(good)
    writing.key = "another"
    with pytest.raises(ConfigError) as caught:
        augment_rows(ROWS, config(), good, out=tmp_path / "p.jsonl")
    assert KEY not in str(caught.value)
    assert str(caught.value) == (
        f"--base-url {writing.base_url}: refuses the key (401: Incorrect API key provided: "
        "***); check the key in MY_KEY"
    )


@pytest.mark.parametrize("key", ["", "two\nlines", "two words", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="--api-key-env MY_KEY") as caught:
        Endpoint(base_url="http://h/v1", api_key=key, api_key_env="MY_KEY")
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (failure(404, "no such model"), "has no model writer (404: no such model)"),
        (failure(403), "refuses the key (403: no); name its variable: --api-key-env"),
        (Response(status_code=301, headers={"location": "/x"}), "answers 301 and no chat"),
        (Response("<html>", media_type="text/html"), "something else than a chat completion"),
        (Response("[]"), "something else than a chat completion"),
    ],
)
def test_an_address_that_is_wrong_is_said_at_once(
    writing: WritingServer, tmp_path: Path, answer: Response, message: str
) -> None:
    writing.writer = every(answer)
    with pytest.raises(ConfigError, match="--base-url http") as caught:
        augment(writing, tmp_path / "o.jsonl", concurrency=1)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(writing.asked) == 1


def test_an_address_where_nothing_listens_is_said_at_once(tmp_path: Path) -> None:
    nowhere = Endpoint(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigError, match="no server can be reached there"):
        augment_rows(ROWS, config(), nowhere, out=tmp_path / "o.jsonl")


@pytest.mark.parametrize(
    "url", ["", "h/v1", "ftp://h", "http://", "http://h:x/", "http://h/v1?a=1", "http://h /v1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        Endpoint(base_url=url)


def test_a_password_in_the_address_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="--api-key-env") as caught:
        Endpoint(base_url="https://me:canary@host/v1")
    assert "canary" not in str(caught.value)


def test_an_answer_that_never_comes_is_waited_for_so_long(
    writing: WritingServer, tmp_path: Path
) -> None:
    slow = endpoint(writing, timeout_s=0.05, max_attempts=2)
    writing.delay_s = 0.2
    with pytest.raises(DataError, match=r"failed 2 times, last with no answer within 0\.05 s"):
        augment_rows(ROWS, config(concurrency=1), slow, out=tmp_path / "o.jsonl")
