"""The part of a loss that a teacher gives: its probabilities beside the labels.

Source: Hinton et al. 2015, "Distilling the knowledge in a neural network",
https://arxiv.org/abs/1503.02531.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import ConfigDict
from torch.nn import functional

from routewright.config import STRICT


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A finished model whose probabilities a sequence head learns beside the labels."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    model: str | None = None
    """A run folder, a bundle folder, or ``default``; it has the task, with the same labels.
    Its tokenizer and its encoder may be others."""
    answers: str | None = None
    """A file in which a run with this teacher kept what it said, ``RUN/teachers/TASK.npz``:
    then the model itself is not needed. Texts that are not in it are asked of `model`, which
    keeps those alone; without one their labels, smoothed, stand for the teacher."""
    weight: float = 0.5
    """Share of the teacher in the loss of the task, in (0, 1]; the labels keep the rest."""
    temperature: float = 2.0
    """What the scores of both are divided by, above 0: more shows more of the labels that the
    teacher thinks unlikely."""

    def __post_init__(self) -> None:
        if self.model is None and self.answers is None:
            raise ValueError("needs a model, or the answers that one gave")
        if not 0 < self.weight <= 1:
            raise ValueError(f"needs 0 < weight <= 1, found {self.weight}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"needs temperature > 0, found {self.temperature}")


def distillation_loss(
    logits_BC: torch.Tensor, teacher_logits_BC: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Divergence of a model's probabilities from its teacher's, a scalar: mean over the rows.

    It is multiplied by the square of the temperature, as its gradient shrinks by that: the
    share of teacher and labels then stays what it is at any temperature (section 2).

    Args:
        logits_BC: of the model that learns.
        teacher_logits_BC: of the teacher, for the same texts and labels.
        temperature: above 0.
    """
    divergence = functional.kl_div(
        (logits_BC.float() / temperature).log_softmax(dim=-1),
        (teacher_logits_BC.float() / temperature).log_softmax(dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2
