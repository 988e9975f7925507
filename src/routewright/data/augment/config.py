"""What is asked for: how many rows, of what, by which models, within which limits."""

from dataclasses import dataclass
from typing import Literal

from routewright.errors import ConfigError

SOURCE = "augment"
"""Value of the column ``source`` of every new row."""

Mode = Literal["classes", "entities", "answers"]
"""New texts of each label, new texts with entities of each type, or models' own answers."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How rows are asked for, and which answers are kept."""

    models: tuple[str, ...]
    """Asked in turn; in the mode ``answers`` each is a label of its own."""
    num: int
    """New rows of each label; of a token task, with each entity type."""
    labels: tuple[str, ...] = ()
    """Labels or entity types to make rows of; empty stands for all."""
    about: str | None = None
    """What the texts are, in words for the model."""
    min_chars: int | None = None
    """Least characters of a new text; None is half of what 95 % of the rows have at least, and
    1 in the mode ``answers``."""
    max_chars: int | None = None
    """Most characters; None is twice what 95 % of the rows have at most, and no limit in the
    mode ``answers``."""
    concurrency: int = 4
    """Requests under way at a time."""
    texts_per_request: int = 10
    """New texts that one request asks for."""
    num_shown: int = 6
    """Rows of the label, and as many of others, that a request shows."""
    seed: int = 0
    """Of the rows that are shown."""

    def __post_init__(self) -> None:
        if not self.models or not all(self.models):
            raise ConfigError("--model: name a model as the server calls it")
        if len(set(self.models)) != len(self.models):
            raise ConfigError("--model: name each model once")
        if min(self.num, self.concurrency, self.texts_per_request, self.num_shown) < 1:
            raise ConfigError("--num and --concurrency: must be 1 or more")
        low, high = self.min_chars, self.max_chars
        if (low is not None and low < 1) or (high is not None and high < (low or 1)):
            raise ConfigError(
                "--min-chars and --max-chars: the one must be 1 or more, the other no less"
            )
