"""JSON on the wire: read strictly, because two readers must not see two different bodies."""

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

from routewright.errors import RequestError

P = ParamSpec("P")
T = TypeVar("T")

_LARGE_BYTES = 128 * 1024
"""Bodies from this size on are read and written in a thread."""


def parse_json(raw: bytes | str) -> Any:
    """Read one JSON document in UTF-8.

    Raises:
        RequestError: not JSON, or JSON that other readers may read differently: a key twice in
            one object, NaN or infinity, bytes that are not UTF-8. Nothing of it is quoted.
    """
    try:
        return _DECODER.decode(raw if isinstance(raw, str) else raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise RequestError("the body is not UTF-8; send JSON in UTF-8") from exc
    except json.JSONDecodeError as exc:
        place = f"line {exc.lineno} column {exc.colno}"
        raise RequestError(f"the body is not valid JSON at {place}") from None
    except RecursionError:
        raise RequestError("the body is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise RequestError("the body has a number with too many digits") from None


def dump_json(value: Any) -> bytes:
    """Compact JSON in UTF-8; half surrogate pairs, which UTF-8 lacks, stay escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise RequestError("the body has an object with the same key twice; send it once")
    return result


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise RequestError("the body has a number that is too large")
    return value


def _no_constant(_: str) -> NoReturn:
    raise RequestError("the body has NaN or an infinity, which JSON does not know")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
)
"""Made once: `json.loads` makes one anew for every call with hooks."""


async def in_thread(size: int, function: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
    """Call `function`; in a thread if `size` bytes would keep the event loop."""
    if size < _LARGE_BYTES:
        return function(*args, **kw)
    return await asyncio.to_thread(function, *args, **kw)
