"""The loss on validation data beside the scores."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.checkpoints import make_checkpoint

from routewright.data.examples import Example, SequenceExample, TokenExample
from routewright.encoding import EncodingConfig, TextEncoder
from routewright.labels import Span
from routewright.tasks import LossConfig, Task
from routewright.train.backbones import load_backbone, load_tokenizer
from routewright.train.batches import collate, make_rows
from routewright.train.modeling import ModelConfig, MultiTaskModel
from routewright.train.scoring import summed_loss, torch_classifier

TOPIC = Task(name="topic", kind="sequence", labels=("animal", "colour"))
NAMES = Task(name="names", kind="token", labels=("NAME",))
EXAMPLES: dict[str, list[Example]] = {
    "topic": [
        SequenceExample("the red one", "colour"),
        SequenceExample("a cat", "animal"),
        SequenceExample("the white horse is not the black one", "animal"),
    ],
    "names": [
        TokenExample("call Alice please", (Span(5, 10, "NAME", 1.0),)),
        TokenExample("nobody", ()),
        TokenExample("Alice Alice and Alice", (Span(0, 11, "NAME", 1.0),)),
    ],
}


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        (TOPIC, LossConfig(kind="cross_entropy_focal", label_smoothing=0.1, weight=3.0)),
        (NAMES, LossConfig(kind="crf_cross_entropy", weight=2.0)),
    ],
)
def test_the_loss_of_scored_texts_is_the_loss_that_training_gives_them(
    task: Task, loss: LossConfig, tmp_path: Path
) -> None:
    checkpoint = str(make_checkpoint(tmp_path / "bert", "bert"))
    task = replace(task, loss=loss)
    tokenizer, pad_id = load_tokenizer(checkpoint)
    encoder = TextEncoder(
        tokenizer, EncodingConfig(max_tokens=48, overlap_tokens=8), pad_id=pad_id
    )
    model = MultiTaskModel(load_backbone(checkpoint), (task,), ModelConfig(backbone=checkpoint))
    model.set_class_weights({task.name: [1.0, 4.0, 2.0][: task.num_outputs]})
    model.eval()
    examples = EXAMPLES[task.name]
    rows = make_rows(task, examples, encoder, max_windows=2)
    with torch.no_grad():
        expected = float(model(**collate(rows, pad_id=pad_id))["loss"])
    raws = torch_classifier(model, encoder).raw([e.text for e in examples])
    total, num_items = summed_loss(model, task.name, examples, raws)
    assert total / num_items == pytest.approx(expected, rel=1e-4)
    parts = [
        summed_loss(model, task.name, [e], [r]) for e, r in zip(examples, raws, strict=True)
    ]
    assert sum(part for part, _ in parts) == pytest.approx(total, rel=1e-4)
    assert summed_loss(model, task.name, [], []) == (0.0, 0)
