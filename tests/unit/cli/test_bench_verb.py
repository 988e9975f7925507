"""``routewright bench`` as a user runs it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from routewright.bundle import Bundle
from routewright.cli.main import app
from routewright.errors import BundleError


def test_a_bundle_to_compare_with_that_is_none_is_refused_before_the_measurements(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(
        "routewright.runtime.benchmark.run_benchmark",
        lambda *plan, **_: started.append(plan),
    )
    arguments = ["bench", str(tiny_bundle.path), "--against", str(tmp_path / "missing")]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, BundleError)
    assert "missing: no such bundle folder" in str(result.exception)
    assert not started
