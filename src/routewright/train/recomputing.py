"""Layers that can be computed again in the backward pass where transformers prepared none.

Of the architectures here that is MPNet's alone; `activation_checkpointing` of a recipe then
means the same for all of them.
"""

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.mpnet.modeling_mpnet import MPNetLayer


class RecomputableMPNetLayer(MPNetLayer, GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """MPNet's layer, which does nothing new until `activation_checkpointing_enable`."""


def make_recomputable(model: PreTrainedModel) -> None:
    """Let `model` in place take `activation_checkpointing_enable`; names of weights stay."""
    for module in model.modules():
        if type(module) is MPNetLayer:
            module.__class__ = RecomputableMPNetLayer
            model.supports_gradient_checkpointing = True
