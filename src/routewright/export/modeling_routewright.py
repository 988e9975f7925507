"""A classification model for transformers: a backbone, mean or first-token pooling, one head.

Self-contained: this file is copied into exported folders, where transformers loads it with
``trust_remote_code=True``. It exists because the own classes of BERT, RoBERTa and MPNet read
only the first token.

Shape letters: B = batch, T = tokens, H = hidden size, C = classes.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


class RoutewrightConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """The backbone's own configuration and the shape of the head."""

    model_type = "routewright"

    def __init__(
        self,
        backbone: dict[str, Any] | None = None,
        pooling: str = "mean",
        dense: bool = True,
        dense_bias: bool = True,
        activation: str = "tanh",
        norm: bool = False,
        **kwargs: Any,
    ) -> None:
        self.backbone = backbone or {"model_type": "bert"}
        self.pooling = pooling
        self.dense = dense
        self.dense_bias = dense_bias
        self.activation = activation
        self.norm = norm
        super().__init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of the backbone."""
        return int(self.backbone["hidden_size"])


class RoutewrightModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The backbone and the layers of the head."""

    config_class = RoutewrightConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True

    def __init__(self, config: RoutewrightConfig) -> None:
        super().__init__(config)
        self.num_labels: int = config.num_labels or 2
        values = dict(config.backbone)
        inner = AutoConfig.for_model(values.pop("model_type"), **values)
        no_pooler = {} if inner.model_type == "modernbert" else {"add_pooling_layer": False}
        self.backbone = AutoModel.from_config(inner, **no_pooler)  # type: ignore[no-untyped-call]
        hidden = config.hidden_size
        self.dense = nn.Linear(hidden, hidden, bias=config.dense_bias) if config.dense else None
        self.activation = nn.GELU() if config.activation == "gelu" else nn.Tanh()
        self.norm = nn.LayerNorm(hidden, bias=False) if config.norm else None
        self.classifier = nn.Linear(hidden, self.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def scores(self, vectors: torch.Tensor) -> torch.Tensor:
        """The head: (dense, activation, norm,) linear, on the last axis."""
        if self.dense is not None:
            vectors = self.activation(self.dense(vectors))
            if self.norm is not None:
                vectors = self.norm(vectors)
        scores: torch.Tensor = self.classifier(vectors)
        return scores

    def encode(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token vectors ``(B, T, H)`` and the mask ``(B, T)``."""
        mask_BT = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        outputs = self.backbone(input_ids=input_ids, attention_mask=mask_BT)
        return outputs.last_hidden_state, mask_BT


class RoutewrightForSequenceClassification(RoutewrightModel):  # type: ignore[no-untyped-call]
    """Class scores of a text."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Scores ``(B, C)``, and the loss where labels ``(B,)`` are given."""
        hidden_BTH, mask_BT = self.encode(input_ids, attention_mask)
        if self.config.pooling == "cls":
            pooled_BH = hidden_BTH[:, 0]
        else:
            mask_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTH.dtype)
            pooled_BH = (hidden_BTH * mask_BT1).sum(1) / mask_BT1.sum(1)
        logits_BC = self.scores(pooled_BH)
        loss = None if labels is None else nn.functional.cross_entropy(logits_BC, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits_BC)


class RoutewrightForTokenClassification(RoutewrightModel):  # type: ignore[no-untyped-call]
    """Tag scores of every token."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Scores ``(B, T, C)``, and the loss where labels ``(B, T)`` are given."""
        hidden_BTH, _mask_BT = self.encode(input_ids, attention_mask)
        logits_BTC = self.scores(hidden_BTH)
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits_BTC.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits_BTC)
