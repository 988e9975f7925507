"""Training rows written by language models behind an OpenAI-compatible API."""

from routewright.data.augment.chat import Endpoint
from routewright.data.augment.config import AugmentConfig
from routewright.data.augment.run import AugmentReport, augment_rows, collect_answers

__all__ = ["AugmentConfig", "AugmentReport", "Endpoint", "augment_rows", "collect_answers"]
