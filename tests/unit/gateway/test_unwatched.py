"""Every header that the gateway tells has to be among those that Envoy adds."""

import re
from pathlib import Path

from routewright.gateway import outgoing, pipeline
from routewright.gateway.unwatched import ANSWER_HEADERS, UNWATCHED

COMPOSE = Path(__file__).parents[3] / "deploy" / "envoy.yaml"
PLACES = {"{name}": ("keywords", "domains"), "{outcome.guard}": ("jailbreak", "pii")}


def told(module: object) -> set[str]:
    """Names of headers in a module's source, with what stands for a placeholder filled in."""
    source = Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8")
    names = set(re.findall(r"\"(x-(?:vsr|routewright)-[^\"]*[a-z}])\"", source))
    for place, values in PLACES.items():
        filled = {name.replace(place, v) for name in names for v in values if place in name}
        names = {name for name in names if place not in name} | filled
    return names


def test_the_list_is_that_of_the_modules_that_tell() -> None:
    names = told(outgoing) | told(pipeline)
    assert names - {outgoing.DESTINATION_HEADER} == set(ANSWER_HEADERS)
    assert list(ANSWER_HEADERS) == sorted(ANSWER_HEADERS)


def test_the_file_of_the_compose_setup_has_this_list() -> None:
    """Else its answers would all be watched, without a word."""
    assert UNWATCHED in COMPOSE.read_text(encoding="utf-8")
