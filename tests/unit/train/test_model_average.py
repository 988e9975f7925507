"""The mean of the weights of several models."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.checkpoints import make_checkpoint

from routewright.errors import RunError
from routewright.tasks import PII, LossConfig, LossKind
from routewright.train.backbones import load_backbone
from routewright.train.model_average import averaged_weights
from routewright.train.modeling import ModelConfig, MultiTaskModel


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("average") / "bert", "bert")


def model_with(checkpoint: Path, kind: LossKind) -> MultiTaskModel:
    task = replace(PII, loss=LossConfig(kind=kind))
    return MultiTaskModel(
        load_backbone(str(checkpoint)), (task,), ModelConfig(backbone=str(checkpoint))
    )


def test_shares_weigh_the_mean(checkpoint: Path) -> None:
    one, other = (model_with(checkpoint, "crf_cross_entropy") for _ in range(2))
    mean = averaged_weights([one, other], [1, 3])
    name = "heads.pii.classifier.weight"
    expected = one.state_dict()[name] / 4 + other.state_dict()[name] * 3 / 4
    assert torch.allclose(mean[name], expected)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_models_of_different_weights_have_no_mean(
    checkpoint: Path, order: tuple[int, int]
) -> None:
    kinds: tuple[LossKind, LossKind] = ("crf_cross_entropy", "cross_entropy")
    models = [model_with(checkpoint, kinds[i]) for i in order]
    with pytest.raises(RunError, match=r"not all have heads\.pii\.crf\.end_K"):
        averaged_weights(models, [1, 1])
