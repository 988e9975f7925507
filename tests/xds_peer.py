"""Runs where xds-protos is installed and routewright is not: Envoy's own messages.

Reads one JSON request from standard input and prints one JSON answer. Imports nothing of this
project but `filled_messages`, which works with any descriptors.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.accesslog.v3 import als_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf import json_format

from tests.filled_messages import filled

MODULES = (
    external_processor_pb2,
    base_pb2,
    processing_mode_pb2,
    http_status_pb2,
    als_pb2,
    accesslog_pb2,
)


def message_type(name: str) -> Any:
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def as_json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def parsed(name: str, data: str) -> Any:
    """What Envoy reads in our bytes, what is unknown to it, and the bytes it would write."""
    message = message_type(name).FromString(bytes.fromhex(data))
    written = message.SerializeToString(deterministic=True).hex()
    message.DiscardUnknownFields()
    known = message.SerializeToString(deterministic=True).hex()
    return {"content": as_json(message), "written": written, "all_known": written == known}


def built(name: str, fields: dict[str, list[str]]) -> Any:
    """Envoy's message with every one of `fields` set, and its bytes."""
    messages = filled(message_type(name), fields)
    return [{"content": as_json(m), "data": m.SerializeToString().hex()} for m in messages]


def described(name: str) -> Any:
    descriptor = message_type(name).DESCRIPTOR
    return {
        "name": descriptor.full_name,
        "fields": {
            f.name: [f.number, f.type, f.is_repeated, getattr(f.containing_oneof, "name", None)]
            for f in descriptor.fields
        },
        "enums": {e.name: {v.name: v.number for v in e.values} for e in descriptor.enum_types},
    }


def enum_values(name: str) -> Any:
    return dict(message_type(name).items())


def method(service_name: str, name: str) -> Any:
    module = next(m for m in MODULES if service_name in m.DESCRIPTOR.services_by_name)
    service = module.DESCRIPTOR.services_by_name[service_name]
    method = service.methods_by_name[name]
    types = [method.input_type.name, method.output_type.name]
    return [service.full_name, *types, method.client_streaming, method.server_streaming]


if __name__ == "__main__":
    answers: dict[str, Callable[..., Any]] = {
        "parsed": parsed,
        "built": built,
        "described": described,
        "enum_values": enum_values,
        "method": method,
    }
    calls = json.load(sys.stdin)
    json.dump([answers[call](*arguments) for call, *arguments in calls], sys.stdout)
