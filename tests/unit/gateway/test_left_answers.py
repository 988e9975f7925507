"""Answers that are left to Envoy: the calls end, and its access log says the rest."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.envoy_parts import ScriptedHandler

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
from routewright.gateway.exchange import EndedAnswer, Outcome
from routewright.gateway.ext_proc import SERVICE, ExtProcServer, ExtProcSettings
from routewright.gateway.left_answers import ACCESS_LOG
from routewright.gateway.unwatched import (
    ANSWER_NAMESPACE,
    ANSWERS,
    ENDPOINT_FIELD,
    REQUEST_ID_FIELD,
    UNWATCHED,
)

SOON_S = 5.0
TOLD = {"x-vsr-selected-model": "small"}
SAYS = ((ANSWERS, UNWATCHED),)
SEEN = json.dumps({})
LEFT = json.dumps({"left": TOLD})
BODY = ProcessingRequest(request_body=HttpBody(body=b"{}", end_of_stream=True))


class Handler(ScriptedHandler):
    """Notes how it was told of the end."""

    ends: list[str]

    def on_left(self) -> None:
        self.ends.append("left")

    def on_end(self, outcome: Outcome, code: str | None = None) -> None:
        self.ends.append(outcome.value)


class Scene:
    """A server, how its handlers ended, and what it heard of answers."""

    def __init__(self, **settings: Any) -> None:
        self.ends: list[str] = []
        self.answers: list[EndedAnswer] = []
        self.server = ExtProcServer(
            self.handler, ExtProcSettings(port=0, **settings), (self.answers.append,)
        )
        self.channel: Any = None

    def handler(self) -> Handler:
        made = Handler({})
        made.ends = self.ends
        return made

    def play(self, act: Callable[["Scene"], Awaitable[None]]) -> None:
        async def run() -> None:
            port = await self.server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as self.channel:
                await asyncio.wait_for(act(self), 2 * SOON_S)
            await self.server.stop()

        asyncio.run(run())

    async def request(
        self,
        script: str,
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
        headers.headers.add(key="x-script", raw_value=script.encode())
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

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not holds():
                await asyncio.sleep(0.01)


def entry(
    number: int = 0, *, status: int = 200, details: str = "via_upstream", **flags: bool
) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry(
        common_properties=AccessLogCommon(response_flags=flags),
        response=HTTPResponseProperties(response_code_details=details),
    )
    made.response.response_code.value = status
    made.common_properties.duration.FromMilliseconds(1250)
    metadata = made.common_properties.metadata.filter_metadata[ANSWER_NAMESPACE]
    metadata.fields[ENDPOINT_FIELD].string_value = "chat"
    metadata.fields[REQUEST_ID_FIELD].string_value = f"{number:032x}"
    return made


def message(*entries: HTTPAccessLogEntry) -> StreamAccessLogsMessage:
    return StreamAccessLogsMessage(http_logs={"log_entry": entries})


def test_the_call_ends_with_the_headers_for_an_envoy_that_adds_them() -> None:
    async def act(scene: Scene) -> None:
        call, (_, reply) = await scene.request(LEFT)
        fields = reply.dynamic_metadata.fields[ANSWER_NAMESPACE].struct_value.fields
        told = {name: value.string_value for name, value in fields.items()}
        assert told == {**TOLD, ENDPOINT_FIELD: "chat", REQUEST_ID_FIELD: LEFT}
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        await scene.until(lambda: scene.ends == ["left"])

    Scene().play(act)


@pytest.mark.parametrize(
    ("says", "mode", "script"),
    [
        ((), ProcessingMode.BUFFERED, LEFT),
        (((ANSWERS, "unwatched-of another list"),), ProcessingMode.BUFFERED, LEFT),
        (SAYS, ProcessingMode.FULL_DUPLEX_STREAMED, LEFT),
        (SAYS, ProcessingMode.BUFFERED, SEEN),
    ],
    ids=["says nothing", "has another list", "full duplex", "has to be seen"],
)
def test_other_answers_are_watched(says: Any, mode: Any, script: str) -> None:
    async def act(scene: Scene) -> None:
        call, replies = await scene.request(script, says, mode)
        assert not any(reply.HasField("dynamic_metadata") for reply in replies)
        if mode == ProcessingMode.FULL_DUPLEX_STREAMED:
            await call.read()
        await call.write(ProcessingRequest(response_headers=HttpHeaders(end_of_stream=True)))
        assert (await call.read()).HasField("response_headers")
        await call.done_writing()
        await scene.until(lambda: scene.ends == [Outcome.COMPLETE.value])

    Scene().play(act)


def test_headers_that_cannot_be_told_are_a_failure_with_an_end() -> None:
    async def act(scene: Scene) -> None:
        call, (_, reply) = await scene.request(json.dumps({"left": {"x-a": "\udcff"}}))
        assert reply.immediate_response.status.code == 500
        await call.done_writing()
        await scene.until(lambda: scene.ends == [Outcome.FAILED.value])

    Scene().play(act)


def test_a_server_that_is_stopped_meanwhile_tells_the_handler_all_the_same() -> None:
    async def act(scene: Scene) -> None:
        await scene.request(LEFT)
        await scene.server.stop()
        assert scene.ends == ["left"]

    Scene().play(act)


def test_a_first_message_that_cannot_be_read_is_a_request_all_the_same() -> None:
    async def act(scene: Scene) -> None:
        call = scene.channel.stream_stream(f"/{SERVICE}/Process")()
        await call.write(b"\xff\xff")
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert scene.ends == [Outcome.ABORTED.value]

    Scene().play(act)


@pytest.mark.parametrize(
    ("fields", "outcome", "code"),
    [
        ({}, Outcome.COMPLETE, None),
        ({"status": 500}, Outcome.COMPLETE, None),
        ({"status": 0, "details": ""}, Outcome.BROKEN, "upstream"),
        ({"downstream_connection_termination": True}, Outcome.ABORTED, None),
        ({"details": "", "downstream_remote_reset": True}, Outcome.ABORTED, None),
        ({"details": "upstream_reset_after_response_started"}, Outcome.BROKEN, "upstream"),
        ({"details": "-", "stream_idle_timeout": True}, Outcome.BROKEN, "timeout"),
        ({"status": 503, "details": "no_healthy_upstream"}, Outcome.BROKEN, "upstream"),
        ({"status": 504, "details": "response_timeout"}, Outcome.BROKEN, "timeout"),
    ],
)
def test_the_log_says_how_an_answer_ended(
    fields: dict[str, Any], outcome: Outcome, code: str | None
) -> None:
    async def act(scene: Scene) -> None:
        log = scene.log()
        await log.write(message(entry(**fields)))
        await log.done_writing()
        assert await log == b""
        assert scene.answers == [
            EndedAnswer(
                endpoint="chat",
                request_id="0" * 32,
                outcome=outcome,
                code=code,
                status=fields.get("status", 200) or None,
                duration_s=1.25,
            )
        ]

    Scene().play(act)


def test_a_batch_is_read_to_its_end_and_others_get_their_turn() -> None:
    async def act(scene: Scene) -> None:
        log = scene.log()
        await log.write(message(*(entry(number) for number in range(500))))
        await log.write(message(entry(500)))
        await log.done_writing()
        assert await log == b""
        assert [int(answer.request_id, 16) for answer in scene.answers] == list(range(501))

    Scene().play(act)


def test_an_entry_without_a_request_id_is_not_of_an_answer_that_was_left() -> None:
    async def act(scene: Scene) -> None:
        log = scene.log()
        await log.write(message(HTTPAccessLogEntry(), entry(7)))
        await log.done_writing()
        assert await log == b""
        assert [answer.request_id for answer in scene.answers] == [f"{7:032x}"]

    Scene().play(act)


def test_a_log_that_comes_after_the_end_is_ended() -> None:
    async def act(scene: Scene) -> None:
        scene.server._answers.close()
        assert await scene.log().code() is grpc.StatusCode.OK

    Scene().play(act)


def test_a_stop_does_not_wait_for_the_log() -> None:
    async def act(scene: Scene) -> None:
        log = scene.log()
        await log.write(message(entry()))
        await scene.until(lambda: len(scene.answers) == 1)
        await asyncio.wait_for(scene.server.stop(), SOON_S)
        assert await log.code() is grpc.StatusCode.OK

    Scene(drain_s=4 * SOON_S).play(act)


def test_a_log_that_cannot_be_read_ends_with_an_error_and_nothing_of_it() -> None:
    async def act(scene: Scene) -> None:
        call = scene.channel.stream_unary(f"/{ACCESS_LOG}/StreamAccessLogs")()
        await call.write(b"\xff canary-7f3a")
        assert await call.code() is grpc.StatusCode.INTERNAL
        assert await call.details() == "the message cannot be read"

    Scene().play(act)
