"""One encoder, any number of heads: the model that training updates and export writes.

Shape letters: B = batch, T = tokens, H = hidden size, C = classes, K = BIO tags.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import nn
from transformers import PreTrainedModel

from routewright.config import STRICT
from routewright.errors import TaskError
from routewright.tag_search import Transitions
from routewright.tasks import Task
from routewright.train.backbones import Architecture, check_architecture
from routewright.train.crf import LinearChainCrf
from routewright.train.distillation import TeacherConfig, distillation_loss
from routewright.train.losses import IGNORED, classification_loss
from routewright.train.ngrams import NgramConfig, new_scores


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder and the shape of its heads."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    backbone: str = "minilm"
    """`minilm` (embedded), a hub id, or a local folder: BERT, RoBERTa, MPNet or ModernBERT
    class."""
    pooling: Literal["mean", "cls"] = "cls"
    """What a sequence head reads: the mean of all token vectors, or that of the first token.
    `cls` is what the classification classes of BERT, RoBERTa and MPNet read, so such a model
    exports to every format; ModernBERT's class knows both."""
    transform: bool = True
    """A dense layer with activation in each sequence head, as the architecture's own has it."""
    dropout: float = 0.1
    """Dropout before the last layer of each head, in [0, 1)."""
    ngrams: NgramConfig | None = None
    """Scores of tokens and token pairs to add to those of some heads."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError("needs 0 <= dropout < 1")


class SequenceHead(nn.Module):
    """Class scores from the pooled vector: (dense, activation, norm,) dropout, linear."""

    def __init__(
        self,
        hidden_size: int,
        num_classes: int,
        architecture: Architecture,
        config: ModelConfig,
    ) -> None:
        super().__init__()
        self.transform = _transform(hidden_size, architecture) if config.transform else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden_size, num_classes)

    def forward(self, pooled_BH: torch.Tensor) -> torch.Tensor:
        """Scores ``(B, C)``."""
        if self.transform is not None:
            pooled_BH = self.transform(pooled_BH)
        scores_BC: torch.Tensor = self.classifier(self.dropout(pooled_BH))
        return scores_BC


class TokenHead(nn.Module):
    """Tag scores from every token vector, with an optional CRF that only the loss uses here."""

    def __init__(
        self, hidden_size: int, task: Task, architecture: Architecture, config: ModelConfig
    ) -> None:
        super().__init__()
        has_transform = config.transform and architecture.token_transform
        self.transform = _transform(hidden_size, architecture) if has_transform else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden_size, task.num_outputs)
        self.crf = (
            LinearChainCrf(task.scheme) if task.loss.kind == "crf_cross_entropy" else None
        )

    def forward(self, hidden_BTH: torch.Tensor) -> torch.Tensor:
        """Scores ``(B, T, K)``."""
        if self.transform is not None:
            hidden_BTH = self.transform(hidden_BTH)
        scores_BTK: torch.Tensor = self.classifier(self.dropout(hidden_BTH))
        return scores_BTK


class MultiTaskModel(nn.Module):
    """A backbone with one head for each task; every head answers in one forward pass."""

    def __init__(
        self, backbone: PreTrainedModel, tasks: Sequence[Task], config: ModelConfig
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # Not `config`: Trainer writes into an attribute of that name.
        self.model_config = config
        self.tasks = {task.name: task for task in tasks}
        hidden_size = backbone.config.hidden_size
        architecture = check_architecture(backbone.config.model_type, config.backbone)
        self.heads = nn.ModuleDict()
        for task in tasks:
            if hasattr(self.heads, task.name):  # "type", "items": attributes of a module
                raise TaskError(f"task {task.name}: PyTorch needs this name; choose another")
            self.heads[task.name] = (
                SequenceHead(hidden_size, task.num_outputs, architecture, config)
                if task.kind == "sequence"
                else TokenHead(hidden_size, task, architecture, config)
            )
        num_classes = {t.name: t.num_outputs for t in tasks if t.kind == "sequence"}
        try:
            self.ngrams = new_scores(config.ngrams, num_classes, backbone.config.vocab_size)
        except ValueError as exc:
            raise TaskError(f"model.ngrams.tasks: {exc}") from exc
        self.class_weights: dict[str, torch.Tensor] = {}
        self.teachers: Mapping[str, TeacherConfig] = {}
        """How much a task's loss counts the scores of a teacher that come with its batches."""

    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token vectors ``(B, T, H)`` and what sequence heads read of them, ``(B, H)``."""
        hidden_BTH = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        if self.model_config.pooling == "cls":
            return hidden_BTH, hidden_BTH[:, 0]
        return hidden_BTH, mean_pool(hidden_BTH, attention_mask)

    def answer(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Scores of every head by task name, and the mean token vector as ``embedding``.

        The embedding is for similarity between texts, where the mean serves best whatever the
        heads read (Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084, table 6).
        """
        hidden_BTH, pooled_BH = self.encode(input_ids, attention_mask)
        outputs = {
            name: head(pooled_BH if isinstance(head, SequenceHead) else hidden_BTH)
            for name, head in self.heads.items()
        }
        for name, ngrams in self.ngrams.items():
            outputs[name] = outputs[name] + ngrams(input_ids, attention_mask)
        return {**outputs, "embedding": mean_pool(hidden_BTH, attention_mask)}

    def forward(
        self,
        task: str,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        teacher_logits: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Loss of one task on one batch, and the scores of its head, n-grams left out.

        Args:
            task: the task all rows belong to.
            input_ids: ``(B, T)``.
            attention_mask: ``(B, T)``, 1 for tokens, 0 for padding.
            labels: class ids ``(B,)``, or tag ids ``(B, T)`` with `IGNORED` for special tokens.
            teacher_logits: ``(B, C)`` of the model that `teachers` has for the task, if any.
        """
        hidden_BTH, pooled_BH = self.encode(input_ids, attention_mask)
        head = self.heads[task]
        logits = head(pooled_BH if isinstance(head, SequenceHead) else hidden_BTH)
        loss = self.loss(task, logits, labels)
        if teacher_logits is not None:
            teacher = self.teachers[task]
            taught = distillation_loss(logits, teacher_logits, teacher.temperature)
            taught = taught * self.tasks[task].loss.weight
            loss = (1 - teacher.weight) * loss + teacher.weight * taught
        return {"loss": loss, "logits": logits}

    def loss(self, task: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """What training minimises for one task, a scalar: mean by item, times its weight.

        A teacher's part, which `forward` adds, is not in it: it needs more than labels.

        Args:
            task: the task of all rows; its label smoothing and class weights count.
            logits: ``(B, C)``, or ``(B, T, K)`` of a token task.
            labels: as `forward` takes them.
        """
        head, config = self.heads[task], self.tasks[task].loss
        weights_C = self.class_weights.get(task)
        weights_C = None if weights_C is None else weights_C.to(labels.device)
        flat = logits.reshape(-1, logits.shape[-1])
        loss = classification_loss(flat, labels.reshape(-1), config, weights_C)
        if isinstance(head, TokenHead) and head.crf is not None:
            loss = loss + _crf_loss(head.crf, logits, labels)
        return loss * config.weight

    def activation_checkpointing_enable(self, **options: Any) -> None:
        """Recompute the backbone's activations in the backward pass; Trainer calls this.

        Args:
            options: as `PreTrainedModel.activation_checkpointing_enable` takes them.
        """
        given = options.pop("activation_checkpointing_kwargs", None) or {}
        # Re-entrant checkpoints lose the gradient of adapters on a frozen backbone.
        self.backbone.activation_checkpointing_enable(
            activation_checkpointing_kwargs={"use_reentrant": False, **given}, **options
        )

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether activations are recomputed; Trainer asks before it wraps the model."""
        return bool(getattr(self.backbone, "is_activation_checkpointing", False))

    def transitions(self) -> dict[str, Transitions]:
        """Learned CRF scores of the heads that have them, by task name."""
        found = {}
        for name, head in self.heads.items():
            if isinstance(head, TokenHead) and head.crf is not None:
                crf = head.crf
                found[name] = Transitions(
                    *(
                        p.detach().cpu().double().numpy()
                        for p in (crf.start_K, crf.scores_KK, crf.end_K)
                    )
                )
        return found

    def set_class_weights(self, weights: Mapping[str, Sequence[float]]) -> None:
        """Weights of the loss by task name, one for each class id."""
        self.class_weights = {
            name: torch.tensor(values, dtype=torch.float32) for name, values in weights.items()
        }


def mean_pool(hidden_BTH: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean of the token vectors that the mask keeps, ``(B, H)``."""
    mask_BT1 = attention_mask.unsqueeze(-1).to(hidden_BTH.dtype)
    return (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)


def _crf_loss(
    crf: LinearChainCrf, logits_BTK: torch.Tensor, labels_BT: torch.Tensor
) -> torch.Tensor:
    """CRF loss over the tokens between the special ones, which come first in each row."""
    first = int((labels_BT != IGNORED).int().argmax(dim=1).max())
    labels_BT, logits_BTK = labels_BT[:, first:], logits_BTK[:, first:]
    mask_BT = labels_BT != IGNORED
    loss: torch.Tensor = crf(logits_BTK.float(), labels_BT.clamp(min=0), mask_BT)
    return loss


def _transform(hidden_size: int, architecture: Architecture) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Linear(hidden_size, hidden_size, bias=architecture.dense_bias),
        architecture.activation(),
    ]
    if architecture.norm:
        layers.append(nn.LayerNorm(hidden_size, bias=False))
    return nn.Sequential(*layers)
