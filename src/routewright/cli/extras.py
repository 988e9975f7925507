"""What a verb needs beyond the base install, named when it is not there."""

from collections.abc import Iterator
from contextlib import contextmanager

from routewright.errors import MissingExtraError


@contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """Around imports that `extra` brings.

    Raises:
        MissingExtraError: a package is missing; a missing module of ours is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name is not None and exc.name.startswith("routewright"):
            raise
        raise MissingExtraError(exc.name or "a package", extra) from exc
