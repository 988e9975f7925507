"""What the package has logged during a test, and nobody else."""

import logging

import pytest


def our_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Records of routewright's own loggers.

    asyncio logs the failed tasks of a test when garbage is collected, which may be in the
    middle of a later one.
    """
    return [record for record in caplog.records if record.name.startswith("routewright.")]
