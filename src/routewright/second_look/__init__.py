"""What rules and checksums decide about entities better than any model does.

    text, entities of the model -> findings (finders) + borders and shapes (shapes) -> entities

Pure functions over the text; nothing here knows tokens, logits or files. Libraries are imported
when a text first needs them.
"""

from routewright.second_look.checksums import load_libraries
from routewright.second_look.look import second_look
from routewright.second_look.settings import CHECKED_TYPES, CheckedType, SecondLookSettings

__all__ = [
    "CHECKED_TYPES",
    "CheckedType",
    "SecondLookSettings",
    "load_libraries",
    "second_look",
]
