"""Fixtures that several folders of unit tests share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.writing_server import WritingServer


@pytest.fixture(scope="module")
def _writing_server() -> "Iterator[WritingServer]":
    from tests.writing_server import writing_server

    with writing_server() as server:
        yield server


@pytest.fixture
def writing(
    _writing_server: "WritingServer", monkeypatch: pytest.MonkeyPatch
) -> "Iterator[WritingServer]":
    """A language model server that writes new rows as it is asked, as long as a test likes."""
    from tests.writing_server import fresh_texts

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = _writing_server
    server.asked.clear()
    server.writer, server.key, server.delay_s = fresh_texts, None, 0.0
    server.num_arrived = server.most_under_way = 0
    yield server
    server.let_go()
