"""Training steps on a processor without what PyTorch does slowly there.

Two changes that leave the mathematics as it is: dropout masks come from a fast generator, and
attention is two plain products, where the architecture's is no more than that. What a step
spent on the two before: docs/log.md, 2026-11-21.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from routewright.train.backbones import ARCHITECTURES
from routewright.train.modeling import MultiTaskModel

_NAME = "routewright_products"
_LEVELS = 256
"""A mask is drawn as bytes, so a probability is a multiple of 1/256."""
_MASKED = -1e30


class ByteDropout(nn.Module):
    """Dropout whose mask is drawn as bytes, many at a time; `torch.bernoulli` draws one by one.

    Args:
        p: probability of a zero, in [0, 1); rounded to a multiple of 1/256 below 1.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.num_kept = max(1, round((1 - p) * _LEVELS))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`values` with zeros at random places, the rest scaled up; unchanged in evaluation."""
        if not self.training or self.num_kept == _LEVELS:
            return values
        # PyTorch's own generator gives the seed, so a resumed run draws what it would have.
        seed = int(torch.randint(2**62, ()))
        drawn = np.random.Generator(np.random.SFC64(seed)).bytes(values.numel())
        bytes_N = torch.frombuffer(bytearray(drawn), dtype=torch.uint8)
        mask = (bytes_N < self.num_kept).view(values.shape).to(values.dtype)
        return values * mask.mul_(_LEVELS / self.num_kept)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention as transformers calls it; in training by two products.

    PyTorch's fused kernel is slow at the gradients of short rows, and knows no dropout on
    processors.

    Args:
        module: the attention layer.
        query: ``(B, heads, T, size)``; `key` and `value` likewise.
        key: of the tokens attended to.
        value: of the tokens attended to.
        attention_mask: broadcast to ``(B, heads, T, T)``; truth, or numbers to add.
        scaling: of the scores; None is ``size ** -0.5``.
        dropout: of attention weights.
        options: for PyTorch's kernel.

    Returns:
        ``(B, T, heads, size)``, and no weights.
    """
    if not module.training:
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            **options,
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * scale) @ key.transpose(2, 3)
        if attention_mask is not None:
            if attention_mask.dtype == torch.bool:
                scores = scores.masked_fill(~attention_mask, _MASKED)
            else:
                scores = scores + attention_mask.to(scores.dtype)
        mixed = ByteDropout(dropout)(scores.softmax(dim=-1)) @ value
    return mixed.transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(_NAME, attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, sdpa_mask)


def speed_up_on_cpu(model: MultiTaskModel) -> None:
    """Change `model` in place for training on a processor; parameters stay where they are."""
    _replace_dropout(model)
    for module in model.modules():
        if (
            isinstance(module, PreTrainedModel)
            and ARCHITECTURES[module.config.model_type].plain_attention
        ):
            module.set_attn_implementation(_NAME)


def _replace_dropout(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, ByteDropout(child.p))
        else:
            _replace_dropout(child)
