"""JSON log lines that cannot hold what a client sent.

A line has a fixed message, numbers, and words of the closed sets of `telemetry`; whatever else
is passed to a logger is left out: strings become ``?``, exceptions their type, code and place.
Types of exceptions and their frames (`traceback.StackSummary`) may be arguments of a message.
Lines of other libraries are reduced to level and logger, because their messages quote requests.
"""

import json
import logging
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from routewright.errors import RoutewrightError
from routewright.gateway.telemetry import Vocabulary

NUMBER_FIELDS = frozenset({
    "duration_s", "added_s", "queue_s", "inference_s", "retry_after_s", "status", "port",
    "num_texts", "num_tokens", "num_windows", "num_entities", "num_unread", "num_bytes",
    "num_waiting",
})  # fmt: skip
ID_FIELDS = frozenset({"request_id", "trace_id"})
"""32 hexadecimal digits that the gateway drew itself; a client's own ids are not logged."""
_ID = re.compile(r"[0-9a-f]{32}")
_FAILURE_WORDS = frozenset({
    "request", "failover", "response_headers", "response_body", "protocol", "end",
    "open", "closed",
})  # fmt: skip
"""Where in a request the gateway failed, and what it was told to do then: no labels."""
_MAX_FRAMES = 8
OWN = "routewright"
OPERATOR_LOGGER = "routewright.gateway.reload"
"""Its lines are about the operator's own files, never about a request, so they may have a
``detail``: one line of free text, such as what is wrong in the policy file, and where."""
WITHHELD = "(message of another library, withheld)"
UNKNOWN = "?"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then fields of the closed list."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        super().__init__()
        self._labels = (vocabulary or Vocabulary()).labels()
        self._words = _FAILURE_WORDS.union(*self._labels.values())

    def extend(self, vocabulary: Vocabulary) -> None:
        """Know the names of a new configuration too."""
        for name, values in vocabulary.labels().items():
            self._labels[name] = self._labels[name] | values
        self._words = _FAILURE_WORDS.union(*self._labels.values())

    def format(self, record: logging.LogRecord) -> str:
        """The line of `record`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._event(record),
        }
        line |= {k: v for k, v in vars(record).items() if self._may_be_told(k, v)}
        detail = getattr(record, "detail", None)
        if record.name == OPERATOR_LOGGER and isinstance(detail, str):
            line["detail"] = detail
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)

    def _event(self, record: logging.LogRecord) -> str:
        if record.name != OWN and not record.name.startswith(f"{OWN}."):
            return WITHHELD
        if not isinstance(record.msg, str):
            return UNKNOWN
        if not record.args:
            return record.msg
        try:
            if isinstance(record.args, Mapping):
                return record.msg % {k: self._told(v) for k, v in record.args.items()}
            return record.msg % tuple(self._told(value) for value in record.args)
        except (TypeError, ValueError, KeyError):
            return record.msg

    def _told(self, value: object) -> object:
        if isinstance(value, int | float):
            return value
        if isinstance(value, BaseException):
            return value.code if isinstance(value, RoutewrightError) else type(value).__name__
        if isinstance(value, type) and issubclass(value, BaseException):
            return value.__name__
        if isinstance(value, traceback.StackSummary):
            return " > ".join(_places(value))
        return value if isinstance(value, str) and value in self._words else UNKNOWN

    def _may_be_told(self, name: str, value: object) -> bool:
        if name in NUMBER_FIELDS:
            return isinstance(value, int | float)
        if name in ID_FIELDS:
            return isinstance(value, str) and _ID.fullmatch(value) is not None
        return isinstance(value, str) and value in self._labels.get(name, ())


def _describe(exc: BaseException) -> dict[str, Any]:
    """Type, code and place of an exception and of its causes; never a message."""
    frames = traceback.extract_tb(exc.__traceback__, limit=-_MAX_FRAMES)
    described: dict[str, Any] = {"type": type(exc).__name__, "at": _places(frames)}
    if isinstance(exc, RoutewrightError):
        described["code"] = exc.code
    if exc.__cause__ is not None:
        described["cause"] = _describe(exc.__cause__)
    return described


def _places(frames: traceback.StackSummary) -> list[str]:
    return [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
