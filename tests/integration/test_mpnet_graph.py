"""The graph of MPNet, whose attention adds a bias that depends on the length of the text."""

import numpy as np
import pytest
import torch
from transformers import MPNetConfig, MPNetModel

from routewright.export.graph import write_onnx
from routewright.runtime.backend import Backend, OnnxBackend
from routewright.tasks import BUILT_IN
from routewright.train.backend import TorchBackend
from routewright.train.modeling import ModelConfig, MultiTaskModel

pytestmark = pytest.mark.integration

LONGEST = 512
VOCABULARY = 300


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backend, Backend]:
    """Torch and the graph of a small model in which a bias by distance decides much."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = MPNetConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=LONGEST + 2, initializer_range=0.4,
        )  # fmt: skip
        backbone = MPNetModel(config, add_pooling_layer=False)
        torch.nn.init.normal_(backbone.encoder.relative_attention_bias.weight, std=2.0)
        tasks = [BUILT_IN["jailbreak"], BUILT_IN["pii"]]
        model = MultiTaskModel(backbone, tasks, ModelConfig()).eval()
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_onnx(model, path)
    return TorchBackend(model), OnnxBackend(path)


# Distances fall into buckets, whose borders are 16, 32, 64 and 128 tokens and some between.
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 1), (1, 2), (7, 17), (2, 33), (1, 65), (3, 130), (2, LONGEST)]
)
def test_batches_and_lengths_that_were_not_traced_give_what_torch_gives(
    shape: tuple[int, int], backends: tuple[Backend, Backend]
) -> None:
    ids_BT = np.random.default_rng(0).integers(5, VOCABULARY, size=shape)
    lengths_B1 = np.maximum(1, shape[1] - 7 * np.arange(shape[0]))[:, None]
    mask_BT = (np.arange(shape[1]) < lengths_B1).astype(np.int64)
    ids_BT[mask_BT == 0] = 1
    expected, found = (backend.run(ids_BT, mask_BT) for backend in backends)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        kept = mask_BT == 1 if value.ndim == 3 else ...
        np.testing.assert_allclose(found[name][kept], value[kept], atol=1e-4)
