"""Sample data for all four tasks, made offline: enough to see the whole way work.

A model trained on it answers ordinary prompts; it is no substitute for real data, and a score
on its test split says how well the templates were learnt, not how well a router works.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from routewright.data.examples import Example, SequenceExample, normalise
from routewright.data.split import split_examples
from routewright.data.synth.pii import generate_pii
from routewright.data.synth.samples_disguise import disfigure
from routewright.data.synth.samples_grammar import Sample, load_grammars, make_sample
from routewright.data.writers import write_parts
from routewright.errors import DataError, TaskError

SAMPLE_TASKS = ("category", "pii", "jailbreak", "intent")
_FRACTIONS = (0.8, 0.1, 0.1)
_ATTEMPTS_PER_EXAMPLE = 20
_DISFIGURED_SHARE = 0.18
"""Of attacks and of harmless prompts alike: odd spelling alone is no attack."""
_GREETINGS = ("Hi,", "Hello!", "Hey,", "Good morning.", "Question:")
_CLOSINGS = ("Thanks!", "Please be brief.", "Thank you.", "It is urgent.")


def generate_samples(task: str, num_examples: int, *, seed: int) -> Iterator[Example]:
    """Make rows of a task, the labels in turn; the same arguments give the same rows.

    Each row's meta has `template_id` and ``source: synthetic``. A sequence row's `template_id`
    is equal to another's only where both template and topic are. Texts may repeat.

    Raises:
        TaskError: no sample data exists for the task.
        MissingExtraError: Faker is not installed (pii).
    """
    if task == "pii":
        yield from generate_pii(num_examples, seed=seed)
        return
    if task not in SAMPLE_TASKS:
        raise TaskError(
            f"no sample data for task {task!r}; there is some for {', '.join(SAMPLE_TASKS)}"
        )
    # A str seed is hashed with SHA-512 and so does not change between processes.
    rng = random.Random(f"{task}/{seed}")  # noqa: S311 - texts, not secrets
    grammars = list(load_grammars(task).items())
    for i in range(num_examples):
        label, grammar = grammars[i % len(grammars)]
        sample = make_sample(grammar, rng, lambda: _ordinary_prompt(rng))
        meta = {"template_id": sample.template_id, "source": "synthetic"}
        text = _vary(sample.text, rng)
        if task == "jailbreak" and rng.random() < _DISFIGURED_SHARE:
            text = disfigure(text, rng)
        yield SequenceExample(text, label, meta)


def write_samples(
    directory: Path, *, num_examples: int, seed: int
) -> dict[str, dict[str, Path]]:
    """Write ``<task>/{train,validation,test}.jsonl`` for all four tasks.

    Args:
        directory: made where it does not exist; files in it are replaced.
        num_examples: distinct texts of each task, over its three files (8:1:1).
        seed: the same seed gives the same files.

    Returns:
        Path by task and split. No `template_id` is in two files of a task.

    Raises:
        DataError: the templates do not give so many distinct texts, or a file is not writable.
        MissingExtraError: Faker is not installed.
    """
    paths: dict[str, dict[str, Path]] = {}
    for task in SAMPLE_TASKS:
        examples = _distinct_samples(task, num_examples, seed)
        split = split_examples(
            examples,
            fractions=_FRACTIONS,
            group_by="template_id",
            seed=seed,
            near_duplicates="ignore",
        )
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        paths[task] = {name: directory / task / f"{name}.jsonl" for name in parts}
        write_parts({paths[task][name]: part for name, part in parts.items()})
    return paths


def _distinct_samples(task: str, num_examples: int, seed: int) -> list[Example]:
    """The first `num_examples` rows with distinct normalised texts."""
    by_text: dict[str, Example] = {}
    for example in generate_samples(task, num_examples * _ATTEMPTS_PER_EXAMPLE, seed=seed):
        if len(by_text) == num_examples:
            break
        by_text.setdefault(normalise(example.text), example)
    if len(by_text) < num_examples:
        raise DataError(
            f"the templates of {task} give only {len(by_text)} distinct texts, "
            f"{num_examples} were asked for; ask for fewer"
        )
    return list(by_text.values())


def _ordinary_prompt(rng: random.Random) -> Sample:
    """A harmless prompt of any domain or intent."""
    grammars = load_grammars(rng.choice(("category", "intent")))
    return make_sample(rng.choice(list(grammars.values())), rng, lambda: _ordinary_prompt(rng))


def _vary(text: str, rng: random.Random) -> str:
    """The text as hurried or polite people type it."""
    kind = rng.random()
    if kind < 0.08:
        return text.lower()
    if kind < 0.16:
        return text.rstrip(".?!")
    if kind < 0.19:
        return f"{rng.choice(_GREETINGS)} {text}"
    if kind < 0.22:
        return f"{text} {rng.choice(_CLOSINGS)}"
    return text
