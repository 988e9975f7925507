"""The index of texts against the clusters of a whole data set."""

from hypothesis import given
from hypothesis import strategies as st

from routewright.data.examples import normalise
from routewright.data.near_duplicates import jaccard
from routewright.data.near_index import NearIndex

TEXT = "please move my appointment with the dentist to Thursday afternoon at three"


def test_a_text_is_found_by_what_differs_a_little_and_by_no_other() -> None:
    index = NearIndex()
    index.add(["something else altogether, about the weather in Rome", TEXT], "rows")
    assert index.owner_of(TEXT.upper() + " ") == "rows"
    assert index.owner_of(TEXT + "!") == "rows"
    assert index.owner_of("please cancel what was agreed with the plumber on Monday") is None


def test_an_empty_index_knows_nothing() -> None:
    index = NearIndex()
    index.add([], "rows")
    assert index.owner_of(TEXT) is None


def test_the_owner_that_was_added_first_is_named() -> None:
    index = NearIndex()
    index.add([TEXT], "test")
    for number in range(20):  # the table grows in between
        index.add([f"{number} {number * 7919} numbers and nothing but {number}"], "other")
    index.add([TEXT + "?"], "train")
    assert index.owner_of(TEXT + "?") == "test"


@given(st.lists(st.text(alphabet="abc ", min_size=12, max_size=40), min_size=1, max_size=5))
def test_what_is_found_is_near_by_its_sets(texts: list[str]) -> None:
    index = NearIndex()
    for number, text in enumerate(texts[1:]):
        index.add([text], str(number))
    owner = index.owner_of(texts[0])
    similar = [jaccard(normalise(texts[0]), normalise(text)) for text in texts[1:]]
    assert (owner is None) or similar[int(owner)] >= 0.8
    assert owner is not None or normalise(texts[0]) not in map(normalise, texts[1:])
