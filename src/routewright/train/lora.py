"""Low-rank adapters: which linear layers of an architecture get them, and how large they are.

The update of a frozen weight is ``B @ A * (alpha / rank)``; peft does the rest.
Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import peft
from pydantic import ConfigDict
from transformers import PreTrainedModel

from routewright.config import STRICT
from routewright.errors import BackboneError

_ATTENTION = r"attention\.(self\.(query|key|value)|output\.dense)"
_ENCODER = {
    "attention": rf".*{_ATTENTION}",
    "all": rf".*({_ATTENTION}|(intermediate|output)\.dense)",
}
TARGETS: dict[str, dict[str, str]] = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "xlm-roberta": _ENCODER,
    "mpnet": {
        "attention": r".*attention\.attn\.(q|k|v|o)",
        "all": r".*(attention\.attn\.(q|k|v|o)|(intermediate|output)\.dense)",
    },
    "modernbert": {
        "attention": r".*attn\.(Wqkv|Wo)",
        "all": r".*(attn\.(Wqkv|Wo)|mlp\.(Wi|Wo))",
    },
}
"""Patterns of module names, by architecture: the names differ, the layers are the same."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Adapters on the backbone; the heads always train in full."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    rank: int = 8
    """Inner dimension of the update; trainable weights grow linearly with it."""
    alpha: int = 16
    """Scale of the update before division by `rank`."""
    dropout: float = 0.1
    """Dropout on the input of an adapter, in [0, 1)."""
    target: Literal["attention", "all"] | tuple[str, ...] = "attention"
    """Attention projections, all linear layers of the encoder, or names of modules."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise ValueError("needs rank >= 1, alpha > 0 and 0 <= dropout < 1")


def add_adapters(backbone: PreTrainedModel, config: LoraConfig) -> peft.PeftModel:
    """Freeze `backbone` and put trainable adapters on its target layers.

    Raises:
        BackboneError: no pattern is known for the architecture, or no layer has a given name.
    """
    architecture = backbone.config.model_type
    if isinstance(config.target, tuple):
        target: str | list[str] = list(config.target)
    elif architecture in TARGETS:
        target = TARGETS[architecture][config.target]
    else:
        raise BackboneError(
            f"no LoRA target layers are known for architecture {architecture!r}; "
            "set lora.target to a list of module names"
        )
    adapters = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=target,
        bias="none",
    )
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a name that transformers 5.23 has deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            return peft.get_peft_model(backbone, adapters)
    except ValueError as exc:
        raise BackboneError(f"lora.target {config.target!r}: {exc}") from exc
