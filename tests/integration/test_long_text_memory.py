"""A long text takes little memory: measured in a process of its own, as peaks never fall."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration


def test_memory_hardly_grows_with_the_text() -> None:
    """Scores of all tokens took 630 bytes a character; tokens and offsets take 6."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.long_text_process"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    bytes_a_character, num_tokens = map(float, done.stdout.split())
    assert num_tokens > 400_000
    assert bytes_a_character < 100
