"""Which entity types get a second look, and what it may do."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

from pydantic import ConfigDict

from routewright.config import STRICT

CheckedType = Literal[
    "CREDIT_CARD",
    "DOMAIN_NAME",
    "EMAIL_ADDRESS",
    "IBAN_CODE",
    "IP_ADDRESS",
    "PHONE_NUMBER",
    "US_DRIVER_LICENSE",
    "US_SSN",
]
CHECKED_TYPES: tuple[CheckedType, ...] = get_args(CheckedType)


@dataclass(frozen=True, kw_only=True)
class SecondLookSettings:
    """What is decided by form instead of by the model."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    types: tuple[CheckedType, ...] = CHECKED_TYPES
    """Entity types it looks at; those of other types only give way to proven ones, and names
    to `veto`."""
    find: bool = True
    """Add entities whose form proves them (checksum, grammar) where the model saw none."""
    veto: bool = True
    """Drop entities that cannot be what the model says: an e-mail address without a sign for
    "at", a card number that fails its checksum, an unsure name without a capital letter in a
    text that writes capitals."""
    score: float = 1.0
    """Of an entity that its form proves, in (0, 1]; others keep the model's score."""

    def __post_init__(self) -> None:
        if not self.types or len(set(self.types)) < len(self.types):
            raise ValueError(f"types must be one or more, each once, got {list(self.types)}")
        if not 0 < self.score <= 1:
            raise ValueError(f"needs 0 < score <= 1, got {self.score}")

    def of_labels(self, labels: Collection[str]) -> Self | None:
        """The same for a task that knows only `labels`; None where nothing is left to do."""
        types = tuple(name for name in self.types if name in labels)
        return replace(self, types=types) if types else None
