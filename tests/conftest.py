"""Fixtures that several test folders share."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from routewright import shipped
from routewright.bundle import Bundle
from tests.tiny import write_tiny_bundle

# How long one example takes says more about the machine's other work than about the code.
settings.register_profile("routewright", deadline=None)
settings.load_profile("routewright")

# A shell's background job ignores Ctrl-C and hands that down: processes of ours that a test
# interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A complete bundle of a model with known answers; read only, copy it to change it."""
    folder: Path = tmp_path_factory.mktemp("bundles")
    return write_tiny_bundle(folder / "tiny")


@pytest.fixture
def shipped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the package's bundles, as in a checkout without them."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return folder


@pytest.fixture
def shipped_bundle(shipped_folder: Path) -> Bundle:
    """The tiny bundle in the place of the one that ships as `default`."""
    return write_tiny_bundle(shipped_folder / shipped.DEFAULT)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: torch's modules need not be looked at over and over."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def leaks_are_found_at_once() -> Iterator[None]:
    """A socket left open fails its own module, not whichever test the collector runs in."""
    yield
    gc.collect()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden files are rewritten only on request, in a commit of their own."""
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture(scope="session")
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files shall take the values of this run."""
    return bool(request.config.getoption("--update-golden"))
