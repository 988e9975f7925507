"""Every error routewright raises on purpose, in one tree.

    RoutewrightError              error          the user can fix it; exit code 2
    |- ConfigError                config         a recipe, an override or an option is wrong
    |- DataError                  data           a row or a data file is wrong
    |  '- LeakError               leak           training and test data share texts
    |- TaskError                  task           a task or a label that does not exist
    |- RunError                   run            a training run cannot be read or resumed
    |  '- DivergedError            diverged       its loss is no number any more
    |- BackboneError              backbone       pretrained weights cannot be loaded
    |- BundleError                bundle         a bundle cannot be read or written
    |  |- IntegrityError          integrity      a file differs from its recorded hash
    |  '- GoldenError             golden         the model gives other than its golden answers
    |- ExportError                export         a model cannot be exported as asked
    |  '- ParityError             parity         the exported model disagrees with torch
    |- ServingError               serving        a request cannot be served
    |  |- OverloadedError         overloaded     the queue is full; says when to come back
    |  |- DeadlineError           deadline       no answer within the caller's time
    |  |- ClosedError             closed         the engine has been drained
    |  '- UpstreamError           upstream       no server of a model answered in full
    |     '- UpstreamTimeoutError timeout        a server of a model was silent for too long
    |- RequestError               request        a client's request body is malformed
    |  '- UnknownModelError       unknown_model  a client names a model that does not exist
    |- MissingExtraError          missing_extra  an optional dependency is not installed
    '- GateError                  gate           a quality gate failed; exits with 3

`ValueError` and `TypeError` mean that the calling code is wrong; `assert` guards our own
reasoning.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar


class RoutewrightError(Exception):
    """An error the user can fix; `code` is stable and may be matched by programs."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2


class ConfigError(RoutewrightError):
    """A recipe, an override or a command-line option is wrong."""

    code = "config"


class DataError(RoutewrightError):
    """A data file or one of its rows is wrong; the message starts with the place."""

    code = "data"

    def __init__(
        self, message: str, *, path: Path | str | None = None, line: int | None = None
    ) -> None:
        """Prefix `message` with ``path:line:`` where they are known (lines count from 1)."""
        place = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(f"{place}{message}")


class LeakError(DataError):
    """Training and test data share normalised texts."""

    code = "leak"


class TaskError(RoutewrightError):
    """A task or a label that does not exist was asked for."""

    code = "task"


class RunError(RoutewrightError):
    """A training run cannot be read, written or resumed."""

    code = "run"


class DivergedError(RunError):
    """The loss of a training is no number any more, nor are its weights."""

    code = "diverged"


class BackboneError(RoutewrightError):
    """Pretrained weights cannot be loaded, or their architecture is not supported."""

    code = "backbone"


class BundleError(RoutewrightError):
    """A bundle cannot be read or written."""

    code = "bundle"


class IntegrityError(BundleError):
    """A file of a bundle differs from the hash in its manifest."""

    code = "integrity"


class GoldenError(BundleError):
    """The model no longer gives the answers recorded when it was exported."""

    code = "golden"


class ExportError(RoutewrightError):
    """A model cannot be exported in the form that was asked for."""

    code = "export"


class ParityError(ExportError):
    """The exported model disagrees with the model it was made from."""

    code = "parity"


class ServingError(RoutewrightError):
    """A request cannot be served; the message never holds text of the request."""

    code = "serving"


class OverloadedError(ServingError):
    """The queue is full."""

    code = "overloaded"

    def __init__(self, queued_tokens: int, max_tokens: int, retry_after_s: float) -> None:
        """`retry_after_s` > 0: when the queue is expected to have room again."""
        super().__init__(
            f"{queued_tokens} tokens wait, the limit is {max_tokens}; "
            f"try again in {retry_after_s:.1f} s"
        )
        self.retry_after_s = retry_after_s


class DeadlineError(ServingError):
    """A text was not classified within the time its caller allowed."""

    code = "deadline"

    def __init__(self, deadline_s: float) -> None:
        """`deadline_s` is the time the caller allowed."""
        super().__init__(
            f"no answer within {deadline_s:g} s; allow more time, or send fewer requests"
        )


class ClosedError(ServingError):
    """The engine was closed, or is draining and takes no new texts."""

    code = "closed"


class UpstreamError(ServingError):
    """No server of a model could be reached, or one broke off before its answer was whole."""

    code = "upstream"


class UpstreamTimeoutError(UpstreamError):
    """A server of a model was silent for longer than is allowed."""

    code = "timeout"


class RequestError(RoutewrightError):
    """A client's request body is malformed; the message never holds text of the request."""

    code = "request"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        """`param` is the path of the wrong value, as in ``messages[0].content``."""
        super().__init__(message)
        self.param = param


class UnknownModelError(RequestError):
    """The policy has no model of the name that the client gave."""

    code = "unknown_model"

    def __init__(self, known: Iterable[str]) -> None:
        """`known` are the names a client may use; the name it used is text of the request."""
        super().__init__(
            f"the request names a model that does not exist; known: {', '.join(known)}",
            param="model",
        )


class MissingExtraError(RoutewrightError):
    """An optional dependency is needed and not installed."""

    code = "missing_extra"

    def __init__(self, package: str, extra: str) -> None:
        """Name the missing `package` and the `extra` that brings it."""
        super().__init__(f"{package} is not installed; run: pip install 'routewright[{extra}]'")


class GateError(RoutewrightError):
    """A quality gate failed: the work is done, its result is not good enough."""

    code = "gate"
    exit_code = 3
