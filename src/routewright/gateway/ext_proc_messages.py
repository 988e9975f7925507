"""Between Envoy's messages and the types of an exchange; pure."""

from collections.abc import Iterator
from typing import cast

from google.protobuf.struct_pb2 import Struct

from routewright.gateway._proto.ext_proc_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMap,
    HeaderMutation,
    HeadersResponse,
    HeaderValueOption,
    HttpStatus,
    ImmediateResponse,
    ProcessingMode,
    ProcessingResponse,
    StatusCode,
    StreamedBodyResponse,
    TrailersResponse,
)
from routewright.gateway.exchange import Forward, Headers, Immediate, LeftAnswer, ResponsePlan
from routewright.gateway.unwatched import ANSWER_NAMESPACE, ENDPOINT_FIELD, REQUEST_ID_FIELD

STREAMED_CHUNK_BYTES = 64 * 1024
"""Largest chunk Envoy recommends for FULL_DUPLEX_STREAMED answers."""

OVERWRITE = HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


def read_headers(header_map: HeaderMap) -> dict[str, str]:
    """Header names in lower case to values; repeated headers joined with a comma."""
    headers: dict[str, str] = {}
    for header in header_map.headers:
        value = header.raw_value.decode("utf-8", "surrogateescape") or header.value
        name = header.key.lower()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def header_mutation(
    set_headers: Headers, remove_headers: tuple[str, ...] = ()
) -> HeaderMutation | None:
    """The mutation that sets and removes headers; None if there is nothing to do."""
    if not set_headers and not remove_headers:
        return None
    mutation = HeaderMutation(remove_headers=remove_headers)
    for name, value in set_headers.items():
        # Filled in where it stands: messages given to a constructor are copied.
        option = mutation.set_headers.add(append_action=OVERWRITE, keep_empty_value=True)
        option.header.key = name
        option.header.raw_value = value.encode("utf-8", "surrogateescape")
    return mutation


def common(
    change: Forward | ResponsePlan | None = None,
    *,
    content_length: int | None = None,
    drop_length: bool = False,
    body: bytes | None = None,
) -> CommonResponse:
    """Apply the header changes of `change`, and `body` in place of the one Envoy sent.

    Args:
        change: whose headers to set and remove.
        content_length: value to set it to; the body's new size in BUFFERED mode.
        drop_length: remove content-length, as the size is not known yet.
        body: the new body; empty clears it, None keeps it.
    """
    set_headers = {} if change is None else dict(change.set_headers)
    remove_headers = () if change is None else change.remove_headers
    if content_length is not None:
        set_headers["content-length"] = str(content_length)
    elif drop_length:
        remove_headers = (*remove_headers, "content-length")
    mutation = header_mutation(set_headers, remove_headers)
    return CommonResponse(
        header_mutation=mutation,
        body_mutation=None if body is None else body_mutation(body),
        # A request is routed by the headers that were just set, so Envoy must choose again.
        clear_route_cache=isinstance(change, Forward) and mutation is not None,
    )


def body_mutation(body: bytes) -> BodyMutation:
    """Replace the body or the chunk; an empty one has to be asked for by name."""
    return BodyMutation(body=body) if body else BodyMutation(clear_body=True)


def streamed(chunk: bytes, *, end: bool) -> BodyResponse:
    """A piece of the answer in FULL_DUPLEX_STREAMED mode, where nothing else is understood."""
    part = StreamedBodyResponse(body=chunk, end_of_stream=end)
    return BodyResponse(
        response=CommonResponse(body_mutation=BodyMutation(streamed_response=part))
    )


def streamed_parts(body: bytes, *, end: bool) -> Iterator[BodyResponse]:
    """`body` in chunks of at most `STREAMED_CHUNK_BYTES`; at least one if `end`."""
    size = STREAMED_CHUNK_BYTES
    starts = range(0, len(body), size) or (range(1) if end else range(0))
    for start in starts:
        yield streamed(body[start : start + size], end=end and start + size >= len(body))


def immediate(answer: Immediate) -> ProcessingResponse:
    """Answer the client now."""
    return ProcessingResponse(
        immediate_response=ImmediateResponse(
            status=HttpStatus(code=cast("StatusCode", answer.status)),
            headers=header_mutation(answer.headers),
            body=answer.body,
        )
    )


def request_headers(
    response: CommonResponse, mode: ProcessingMode | None = None
) -> ProcessingResponse:
    """Reply to request headers, overriding the processing mode if `mode` is given."""
    headers = HeadersResponse(response=response)
    return ProcessingResponse(request_headers=headers, mode_override=mode)


def response_headers(
    response: CommonResponse, mode: ProcessingMode | None = None
) -> ProcessingResponse:
    """Reply to response headers, overriding the processing mode if `mode` is given."""
    headers = HeadersResponse(response=response)
    return ProcessingResponse(response_headers=headers, mode_override=mode)


def request_body(
    response: CommonResponse | BodyResponse, metadata: Struct | None = None
) -> ProcessingResponse:
    """Reply to (a part of) the request body, with dynamic metadata if there is some."""
    return ProcessingResponse(request_body=body_response(response), dynamic_metadata=metadata)


def answer_metadata(answer: LeftAnswer) -> Struct:
    """Headers of the answer to come, and what its end is told of by, under `ANSWER_NAMESPACE`.

    Raises:
        ValueError: a value is not UTF-8.
    """
    metadata = Struct()
    fields = metadata.fields[ANSWER_NAMESPACE].struct_value.fields
    fields[ENDPOINT_FIELD].string_value = answer.endpoint
    fields[REQUEST_ID_FIELD].string_value = answer.request_id
    for name, value in answer.headers.items():
        fields[name].string_value = value
    return metadata


def response_body(response: CommonResponse | BodyResponse) -> ProcessingResponse:
    """Reply to (a part of) the response body."""
    return ProcessingResponse(response_body=body_response(response))


def body_response(response: CommonResponse | BodyResponse) -> BodyResponse:
    """Wrap what is not wrapped yet."""
    if isinstance(response, BodyResponse):
        return response
    return BodyResponse(response=response)


REQUEST_TRAILERS = ProcessingResponse(request_trailers=TrailersResponse())
RESPONSE_TRAILERS = ProcessingResponse(response_trailers=TrailersResponse())
