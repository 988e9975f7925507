"""Training on a processor is faster and computes the same."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from tests.checkpoints import ARCHITECTURES, make_checkpoint
from transformers import BertConfig, BertModel

from routewright.tasks import BUILT_IN
from routewright.train import backbones
from routewright.train.cpu_speed import ByteDropout, attend, speed_up_on_cpu
from routewright.train.modeling import ModelConfig, MultiTaskModel

VOCABULARY = 50


def small_model(dropout: float) -> MultiTaskModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    tasks = [BUILT_IN["jailbreak"], BUILT_IN["pii"]]
    return MultiTaskModel(backbone, tasks, ModelConfig(dropout=dropout))


def gradients(model: MultiTaskModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, VOCABULARY, (3, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    model(task="jailbreak", input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 0]))[
        "loss"
    ].backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_gradients_are_those_of_the_model_as_transformers_builds_it() -> None:
    plain, fast = small_model(0.0).train(), small_model(0.0).train()
    speed_up_on_cpu(fast)
    expected, found = gradients(plain), gradients(fast)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_attention_weights_are_dropped_as_often_as_the_backbone_says() -> None:
    module = torch.nn.Module().train()
    torch.manual_seed(0)
    query = torch.zeros(2, 4, 50, 8)  # attends to all tokens alike
    value = torch.ones(2, 4, 50, 8)
    kept, _ = attend(module, query, query, value, None, dropout=0.25)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)
    assert kept.std().item() == pytest.approx((0.25 / 0.75 / 50) ** 0.5, rel=0.2)
    whole, _ = attend(module.eval(), query, query, value, None, dropout=0.0)
    torch.testing.assert_close(whole, torch.ones(2, 50, 4, 8))


def without_dropout(folder: Path, architecture: str) -> MultiTaskModel:
    backbone = backbones.load_backbone(str(make_checkpoint(folder, architecture)))
    for module in backbone.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        # Layers hand the probability on to their attention as a number.
        for name in ("attention_dropout", "attention_dropout_prob", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    tasks = [BUILT_IN["jailbreak"], BUILT_IN["pii"]]
    return MultiTaskModel(backbone, tasks, ModelConfig(dropout=0.0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_nothing_in_any_architecture(
    architecture: str, training: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = without_dropout(tmp_path / architecture, architecture)
    speed_up_on_cpu(model)
    model.train(training)
    pad = model.backbone.config.pad_token_id
    ids = torch.randint(5, 90, (1, 11))
    padded = torch.cat([ids, torch.full((1, 30), pad)], dim=1)
    beside = torch.cat([padded, torch.randint(5, 90, padded.shape)])
    mask = torch.ones_like(beside)
    mask[0, 11:] = 0
    with torch.no_grad():
        alone = model.answer(ids, torch.ones_like(ids))
        together = model.answer(beside, mask)
    for name, expected in alone.items():
        found = together[name][:1, :11] if expected.dim() == 3 else together[name][:1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_attention_that_is_no_more_than_products_is_replaced(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = without_dropout(tmp_path / architecture, architecture)
    asked: list[str] = []
    # That transformers 5.23 refuses this for MPNet, with a warning, is not relied on.
    monkeypatch.setattr(
        type(model.backbone), "set_attn_implementation", lambda _, n: asked.append(n)
    )
    speed_up_on_cpu(model)
    assert bool(asked) == (architecture in ("bert", "roberta"))
    assert not any(type(m) is torch.nn.Dropout for m in model.modules())


def test_parameters_keep_their_names() -> None:
    plain, fast = small_model(0.1), small_model(0.1)
    speed_up_on_cpu(fast)
    assert plain.state_dict().keys() == fast.state_dict().keys()
    assert not any(type(m) is torch.nn.Dropout for m in fast.modules())


def test_evaluation_is_untouched() -> None:
    fast = small_model(0.3)
    speed_up_on_cpu(fast)
    fast.eval()
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        first, second = (fast.answer(ids, mask)["jailbreak"] for _ in range(2))
        expected = small_model(0.3).eval().answer(ids, mask)["jailbreak"]
    assert torch.equal(first, second)
    torch.testing.assert_close(first, expected)


def test_byte_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout = ByteDropout(0.1).train()
    dropped = dropout(torch.ones(1000, 1000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.003)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.003)


def test_byte_dropout_of_nearly_everything_stays_finite() -> None:
    dropped = ByteDropout(0.999).train()(torch.ones(10_000))
    assert torch.isfinite(dropped).all()
    assert 0 < (dropped > 0).float().mean().item() < 0.02


def test_byte_dropout_passes_gradients_of_what_it_kept() -> None:
    torch.manual_seed(0)
    values = torch.ones(10_000, requires_grad=True)
    dropped = ByteDropout(0.5).train()(values)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())


def test_byte_dropout_follows_the_seed_of_torch() -> None:
    dropout = ByteDropout(0.5).train()
    values = torch.ones(1000)
    torch.manual_seed(3)
    first = dropout(values)
    second = dropout(values)
    torch.manual_seed(3)
    assert torch.equal(first, dropout(values))
    assert not torch.equal(first, second)
