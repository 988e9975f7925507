"""Protobuf messages with every field set, whatever their descriptors; used on both sides."""

import itertools
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.wrappers_pb2 import UInt32Value

WELL_KNOWN = {
    "Duration": Duration(seconds=3, nanos=5),
    "Struct": Struct(fields={"key": Value(string_value="text é")}),
    "UInt32Value": UInt32Value(value=503),
}
"""Of the package google.protobuf, which both sides have."""


def scalar(field: Any, number: int) -> Any:
    """A value that is not the default, and differs from one field to the next."""
    if field.enum_type is not None:
        values = field.enum_type.values
        return values[1 + number % (len(values) - 1)].number
    if field.type == field.TYPE_BOOL:
        return True
    if field.type == field.TYPE_STRING:
        return f"text {number} é"
    assert field.type == field.TYPE_BYTES, f"{field.full_name} has a new kind of type"
    return bytes([0, 255, number % 256])


def filled(message_type: Any, fields: dict[str, list[str]]) -> list[Any]:
    """Messages that together set every field in `fields` (message name to field names).

    One for each member of a oneof, at any depth; one if there is none.
    """
    return fill(message_type, fields, itertools.count(1))


def fill(message_type: Any, fields: dict[str, list[str]], count: Any) -> list[Any]:
    names = fields[message_type.DESCRIPTOR.name]
    chosen = [f for f in message_type.DESCRIPTOR.fields if f.name in names]
    plain = [f for f in chosen if f.containing_oneof is None]
    members = [f for f in chosen if f.containing_oneof is not None]
    messages = []
    for member in members or [None]:
        present = [*plain, member] if member is not None else plain
        options = [values(message_type, f, fields, count) for f in present]
        for turn in range(max((len(o) for o in options), default=1)):
            message = message_type()
            for field, option in zip(present, options, strict=True):
                put(message, field, option[turn % len(option)], count)
            messages.append(message)
    return messages


def values(
    message_type: Any, field: Any, fields: dict[str, list[str]], count: Any
) -> list[Any]:
    """What the field can be set to."""
    if field.message_type is None:
        return [scalar(field, next(count))]
    if field.message_type.name in WELL_KNOWN:
        return [WELL_KNOWN[field.message_type.name]]
    if field.message_type.GetOptions().map_entry:
        return [WELL_KNOWN[field.message_type.fields_by_name["value"].message_type.name]]
    return fill(field.message_type._concrete_class, fields, count)


def put(message: Any, field: Any, value: Any, count: Any) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, field.name)[f"key {next(count)}"].CopyFrom(value)
    elif field.is_repeated and field.message_type is not None:
        getattr(message, field.name).extend([value, value])
    elif field.is_repeated:
        getattr(message, field.name).extend([value, scalar(field, next(count))])
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)
