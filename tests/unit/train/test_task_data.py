"""What becomes of the rows of a recipe before training sees them."""

import json
from pathlib import Path

from routewright.data.synth.samples import generate_samples
from routewright.train.recipe import parse_recipe
from routewright.train.task_data import load_task_data


def test_generated_rows_near_a_held_out_text_are_left_out(tmp_path: Path) -> None:
    made = list(generate_samples("jailbreak", 40, seed=3))
    shown = made[7]
    row = {"text": f"{shown.text} ", "label": "jailbreak"}
    (tmp_path / "held_out.jsonl").write_text(json.dumps(row) + "\n")
    recipe = parse_recipe(
        {
            "name": "x",
            "data_dir": str(tmp_path),
            "tasks": {
                "jailbreak": {
                    "train": [{"synthetic": "jailbreak", "limit": 40, "seed": 3}],
                    "validation": [{"path": "held_out.jsonl"}],
                }
            },
        },
        source="x.yaml",
    )
    kept = {example.text for example in load_task_data(recipe)["jailbreak"].train}
    assert shown.text not in kept
    assert len(kept) >= 35


def test_answers_can_follow_their_question(tmp_path: Path) -> None:
    rows = [
        {"text": "How many?", "options": ["one", 2, " "], "label": "math"},
        {"text": "Which war?", "options": [], "label": "history"},
    ]
    path = tmp_path / "exam.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "held_out.jsonl").write_text(json.dumps({"text": "Why?", "label": "law"}))
    spec = {"path": "exam.jsonl", "appended_column": "options"}
    recipe = parse_recipe(
        {
            "name": "x",
            "data_dir": str(tmp_path),
            "tasks": {
                "category": {"train": [spec], "validation": [{"path": "held_out.jsonl"}]}
            },
        },
        source="x.yaml",
    )
    texts = [example.text for example in load_task_data(recipe)["category"].train]
    assert texts == ["How many?\none\n2", "Which war?"]
