"""What rules make of entities: each type's cases, and what holds for every text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routewright.config import parse, to_plain
from routewright.errors import ConfigError
from routewright.labels import Span, check_spans
from routewright.second_look import CHECKED_TYPES, SecondLookSettings, second_look

SETTINGS = SecondLookSettings()
TRUSTING = SecondLookSettings(veto=False)
PROVEN = [
    "a@b.co", "jo.ann+x@mail.example.org", "https://www.Shop.com.pt/", "http://a.io:80/x",
    "www.example.org", "192.168.7.1", "2001:db8::8a2e:370:7334", "4111 1111 1111 1111",
    "4111111111111111", "3782-822463-10005", "GB29 NWBK 6016 1331 9268 19",
    "de89370400440532013000",
    "123-45-6789", "+44 20 7946 0958", "(415) 555-2671", "541-714-1388x22", "555-123-4567",
]  # fmt: skip
FRAGMENTS = [
    *PROVEN,
    "Ä漢",
    "👩‍👩‍👧",
    "e\u0301",
    "\u200b",
    "\u00ad",
    "١٢٣",
    "\u00a0",
    "\u2013",
    "(",
    ")",
    "+",
    "@",
    ".",
    ":",
    "-",
    "/",
]
TEXTS = st.lists(
    st.sampled_from([*FRAGMENTS, " ", " ", "\n", "card ", "version ", "x", "12", "4567"])
    | st.text(max_size=4),
    max_size=12,
).map("".join)


def found(text: str, settings: SecondLookSettings = SETTINGS) -> list[tuple[str, str]]:
    """Value and label of each entity that the rules find by themselves."""
    return [(text[s.start : s.end], s.label) for s in second_look(text, [], settings)]


def looked_at(text: str, value: str, label: str) -> list[tuple[str, str]]:
    """The same where a model called `value` a `label`."""
    start = text.index(value)
    spans = second_look(text, [Span(start, start + len(value), label, 0.6)], SETTINGS)
    return [(text[s.start : s.end], s.label) for s in spans]


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("write to 'John.Smith@example.com'.", "John.Smith@example.com", "EMAIL_ADDRESS"),
        ("邮箱是bob@example.com。", "bob@example.com", "EMAIL_ADDRESS"),
        ("Mira32@pool.it: mailbox full", "Mira32@pool.it", "EMAIL_ADDRESS"),
        ("see https://www.Shop.com.pt/.", "https://www.Shop.com.pt/", "DOMAIN_NAME"),
        ("see https://a.example.com/x?y=1", "https://a.example.com", "DOMAIN_NAME"),
        ("host cdn7.shop-2.net is down", "cdn7.shop-2.net", "DOMAIN_NAME"),
        ("mail.example.org, port 25", "mail.example.org", "DOMAIN_NAME"),
        ("http://10.1.2.3:8080/", "10.1.2.3", "IP_ADDRESS"),
        ("at 2001:0:0:0:0:2032:811d:477d:8080 or", "2001:0:0:0:0:2032:811d:477d", "IP_ADDRESS"),
        ("[fe80::1%eth0]", "fe80::1", "IP_ADDRESS"),
        ("allow 10.42.0.17 only", "10.42.0.17", "IP_ADDRESS"),
        ("the server is 8.8.4.4.", "8.8.4.4", "IP_ADDRESS"),
        ("bound to tcp/10.1.2.3:80", "10.1.2.3", "IP_ADDRESS"),
        ("route 10.0.0.0/8", "10.0.0.0", "IP_ADDRESS"),
        ("paid with 4111-1111-1111-1111, thanks", "4111-1111-1111-1111", "CREDIT_CARD"),
        ("my card 4222222222222 is lost", "4222222222222", "CREDIT_CARD"),
        ("TR33 0006 1005 1978 6457 8413 26 \u0130stanbul",
         "TR33 0006 1005 1978 6457 8413 26", "IBAN_CODE"),
        ("IBAN GB29 NWBK 6016 1331 9268 19 to my", "GB29 NWBK 6016 1331 9268 19", "IBAN_CODE"),
        ("number is 123-45-6789", "123-45-6789", "US_SSN"),
        ("number is 123\u201145\u20116789", "123\u201145\u20116789", "US_SSN"),
        ("call me at 555-123-4567.", "555-123-4567", "PHONE_NUMBER"),
        ("desk +41 (0)71 526 99 04\nfax", "+41 (0)71 526 99 04", "PHONE_NUMBER"),
        ("at +49 30 1234 5678", "+49 30 1234 5678", "PHONE_NUMBER"),
        ("\uff0b44 20 7946 0958 ext. 12", "\uff0b44 20 7946 0958 ext. 12", "PHONE_NUMBER"),
    ],
)  # fmt: skip
def test_a_proven_entity_is_found_with_exact_borders(text: str, value: str, label: str) -> None:
    assert found(text) == [(value, label)]


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112", "parcel 4222222222222", "GB30 NWBK 6016 1331 9268 19",
        "version 10.1.2.3", "Chrome/114.0.5.1", "bound to 127.0.0.1", "mask 255.255.255.0",
        "std::vector at 12:30:45", "main.py and README.md", "git@github.com:org/project",
        "000-12-3456", "1234-56-78901", "2024-01-31 10:20:30", "978-3-16-148410-0",
        "3.14159265", "1, 2, 3, 4, 5, 6, 7", "+1", "@user", "a@b",
        "com.example.net.Socket", "org.junit.net(1)", "self.net.train", "shop.communal",
        "x=a.net_b", "q@k.transpose(-2, -1)", "x@W.mean()", "Oracle 12.2.0.1 to 19.3.0.0",
        "Windows 10.0.22.1", "OID is 1.3.6.1", "Umsatz +12.500.000 Euro", "+12 500 000 people",
        "+50 000 000 euros", "a = 5+12345678", "f(x)+4420794609", "10:00:00 +1000 2008",
    ],
)  # fmt: skip
def test_a_look_alike_is_not_found(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("open all the files", "the files", "CREDIT_CARD"),
        ("order 4111111111111112", "4111111111111112", "CREDIT_CARD"),
        ("the regular files", "regular", "EMAIL_ADDRESS"),
        ("history of Facebook", "Facebook", "DOMAIN_NAME"),
        ("open data.csv", "data.csv", "DOMAIN_NAME"),
        ("at org.shop.Cart.add(Cart.java:7)", "org.shop.Cart.add", "DOMAIN_NAME"),
        ("version 1.2.3.4", "1.2.3.4", "IP_ADDRESS"),
        ("37.8651 N", "37.8651 N", "IP_ADDRESS"),
        ("parcel JD69062981026584", "JD69062981026584", "IBAN_CODE"),
        ("MRN: 67-9430-93", "67-9430-93", "US_SSN"),
        ("square root of 144", "square root of 144", "PHONE_NUMBER"),
        ("on 2020-06-20", "2020-06-20", "PHONE_NUMBER"),
        ("zip 13\n 44939", "13\n 44939", "PHONE_NUMBER"),
        ("my licence", "licence", "US_DRIVER_LICENSE"),
    ],
)
def test_what_cannot_be_of_its_type_is_vetoed(text: str, value: str, label: str) -> None:
    assert looked_at(text, value, label) == []
    start = text.index(value)
    span = Span(start, start + len(value), label)
    assert second_look(text, [span], TRUSTING) == [span]


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("john at example dot com", "john at example dot com", "EMAIL_ADDRESS"),
        ("the card ending in 4321", "4321", "CREDIT_CARD"),
        ("XXXX-XXXX-XXXX-4321", "XXXX-XXXX-XXXX-4321", "CREDIT_CARD"),
        ("ring 0699 868 88 55", "0699 868 88 55", "PHONE_NUMBER"),
        ("ring 61 51 81", "61 51 81", "PHONE_NUMBER"),
        ("ring 1-800-FLOWERS", "1-800-FLOWERS", "PHONE_NUMBER"),
        ("ring 0170  1234567", "0170  1234567", "PHONE_NUMBER"),
        ("ring (030) - 123456", "(030) - 123456", "PHONE_NUMBER"),
        ("ring (089) / 123 456 78", "(089) / 123 456 78", "PHONE_NUMBER"),
        ("ring 555-1234 ext: 55", "555-1234 ext: 55", "PHONE_NUMBER"),
        ("ring 555-xxx-4567", "555-xxx-4567", "PHONE_NUMBER"),
        ("ring 1 2 3 4 5 6 7 8 9 0", "1 2 3 4 5 6 7 8 9 0", "PHONE_NUMBER"),
        ("ring 07700 900 123 / 07700 900 124", "07700 900 123 / 07700 900 124", "PHONE_NUMBER"),
        ("ring (06) 12.34.56.78", "(06) 12.34.56.78", "PHONE_NUMBER"),
        ("john.smith @ gmail.com", "john.smith @ gmail.com", "EMAIL_ADDRESS"),
        ("jane_doe[at]outlook.com", "jane_doe[at]outlook.com", "EMAIL_ADDRESS"),
        ("SSN 123456789", "123456789", "US_SSN"),
        ("lo 127.0.0.1", "127.0.0.1", "IP_ADDRESS"),
        ("license LD442H", "LD442H", "US_DRIVER_LICENSE"),
        ("call Ann", "Ann", "PERSON"),
    ],
)
def test_what_has_the_shape_of_its_type_stays(text: str, value: str, label: str) -> None:
    assert looked_at(text, value, label) == [(value, label)]


@pytest.mark.parametrize(
    ("text", "value", "label", "expected"),
    [
        ("W Pixel.example.in now", "example", "DOMAIN_NAME", "Pixel.example.in"),
        ("to (0392) 945752.", "0392) 945752", "PHONE_NUMBER", "(0392) 945752"),
        ("to 0392 945752 ext 7", "0392 945752", "PHONE_NUMBER", "0392 945752 ext 7"),
        ("to '0392 945752'", "'0392 945752'", "PHONE_NUMBER", "0392 945752"),
        ("ask house@citycraft.it.", "house@citycraft", "EMAIL_ADDRESS", "house@citycraft.it"),
    ],
)
def test_borders_are_those_of_the_form(
    text: str, value: str, label: str, expected: str
) -> None:
    assert looked_at(text, value, label) == [(expected, label)]


def test_pieces_of_one_host_name_become_one_entity() -> None:
    text = "see studio.harrow-gate.io and a.b.io"
    pieces = [
        Span(text.index(piece), text.index(piece) + len(piece), "DOMAIN_NAME", 0.6)
        for piece in ("studio.", "harrow", "gate.io", "a.b.io")
    ]
    spans = second_look(text, pieces, SETTINGS)
    assert [text[s.start : s.end] for s in spans] == ["studio.harrow-gate.io", "a.b.io"]


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("4111111111111111", "CREDIT_CARD"),
        ("4111 1111 1111 1111", "CREDIT_CARD"),
        ("DE89370400440532013000", "IBAN_CODE"),
        ("192.0.2.17", "IP_ADDRESS"),
        ("2001:db8::8a2e:370:7334", "IP_ADDRESS"),
        ("123-45-6789", "US_SSN"),
        ("415-555-2671", "PHONE_NUMBER"),
        ("https://example.org", "DOMAIN_NAME"),
        ("www.example.org", "DOMAIN_NAME"),
        ("ada@example.org", "EMAIL_ADDRESS"),
    ],
)
@pytest.mark.parametrize(
    ("before", "behind"), [("\u306f", "\u3067\u3059"), ("\u662f", "\u8bf7")]
)
def test_scripts_without_spaces_hide_nothing(
    before: str, behind: str, value: str, label: str
) -> None:
    assert found(f"{before}{value}{behind}") == [(value, label)]
    assert found(f"x{value}y") == [] or label in ("DOMAIN_NAME", "EMAIL_ADDRESS")


@pytest.mark.parametrize(
    "invisible", ["\u200b", "\u200c", "\u200d", "\ufeff", "\u00ad", "\u0301"]
)
@pytest.mark.parametrize("value", [v for v in PROVEN if v != "http://a.io:80/x"])
def test_invisible_characters_hide_no_part_of_a_proven_entity(
    value: str, invisible: str
) -> None:
    for place in range(1, len(value)):
        hidden = value[:place] + invisible + value[place:]
        assert found(f"it is {hidden} now")[0][0] == hidden
        assert found(f"it is {hidden}{invisible} now")[0][0].rstrip(invisible) == hidden


@pytest.mark.parametrize(
    ("text", "value", "label"),
    [
        ("write to sm\u200bith@example.com", "sm\u200bith@example.com", "EMAIL_ADDRESS"),
        ("ring 0699 86\u200b8 88 55", "0699 86\u200b8 88 55", "PHONE_NUMBER"),
        ("card ends in 43\u00ad21", "43\u00ad21", "CREDIT_CARD"),
        ("ask Jose\u0301", "Jose\u0301", "PERSON"),
        ("ask Ma\u0301rti\u0301", "Ma\u0301rti\u0301", "PERSON"),
    ],
)
def test_invisible_characters_stay_in_what_the_model_found(
    text: str, value: str, label: str
) -> None:
    assert looked_at(text, value, label) == [(value, label)]


def test_what_has_no_width_may_also_stand_between_words() -> None:
    number = "4111111111111111"
    assert found(f"paid\u200b{number}\u200b5 times") == [(number, "CREDIT_CARD")]


@pytest.mark.parametrize("cut", ["Jose", "Jose\u0301"])
def test_no_entity_ends_between_a_letter_and_its_mark(cut: str) -> None:
    text = "Jose\u0301 jose\u0301@x.org"
    assert second_look(text, [Span(0, len(cut), "PERSON", 0.9)], SETTINGS) == [
        Span(0, 5, "PERSON", 0.9),
        Span(6, 17, "EMAIL_ADDRESS"),
    ]
    assert second_look(text, [Span(0, 17, "PERSON", 0.9)], SETTINGS)[0].end == 5


def test_a_proven_entity_replaces_labels_and_cuts_other_types() -> None:
    text = "Ann Lee ann@x.org, 123-45-6789"
    spans = [Span(0, 17, "PERSON", 0.9), Span(19, 30, "PHONE_NUMBER", 0.8)]
    assert second_look(text, spans, SecondLookSettings(score=0.97)) == [
        Span(0, 7, "PERSON", 0.9),
        Span(8, 17, "EMAIL_ADDRESS", 0.97),
        Span(19, 30, "US_SSN", 0.97),
    ]


def test_without_find_only_entities_of_the_model_are_corrected() -> None:
    text = "a@b.co and 'c@d.co'"
    shy = SecondLookSettings(find=False)
    assert second_look(text, [], shy) == []
    span = Span(11, 19, "EMAIL_ADDRESS", 0.5)
    assert second_look(text, [span], shy) == [Span(12, 18, "EMAIL_ADDRESS", 1.0)]


def test_other_types_than_those_of_the_settings_are_left_alone() -> None:
    only_cards = SecondLookSettings(types=("CREDIT_CARD",))
    wrong = Span(0, 4, "EMAIL_ADDRESS", 0.5)
    assert second_look("here a@b.co", [wrong], only_cards) == [wrong]
    assert SETTINGS.of_labels(["PERSON", "US_SSN"]) == SecondLookSettings(types=("US_SSN",))
    assert SETTINGS.of_labels(["PERSON"]) is None


@given(st.data(), TEXTS)
def test_the_result_is_exact_sorted_and_final(data: st.DataObject, text: str) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    labels = st.sampled_from([*CHECKED_TYPES, "PERSON", "DATE_TIME"])
    spans = [
        Span(start, end, data.draw(labels), 0.5)
        for start, end in zip(cuts[::2], cuts[1::2], strict=False)
    ]
    for settings in (SETTINGS, TRUSTING, SecondLookSettings(find=False)):
        result = second_look(text, spans, settings)
        assert check_spans(text, result) is None
        assert result == sorted(result)
        assert second_look(text, result, settings) == result


@given(st.sampled_from(PROVEN), TEXTS, TEXTS)
def test_a_proven_entity_among_spaces_is_always_covered(
    value: str, before: str, after: str
) -> None:
    text = f"{before}\n\n{value}\n\n{after}"
    start = len(before) + 2
    end = start + len(value) - (2 if value.endswith("/x") else 0)
    assert any(s.start <= start and end <= s.end for s in second_look(text, [], SETTINGS))


@pytest.mark.parametrize(
    "unit", ["a@a.", "1", "http://a.", "GB12 ", "555-123-4567 ", "+1", "a."]
)
def test_hostile_texts_take_linear_time(unit: str) -> None:
    text = (unit * 20_000)[:20_000]
    spans = [Span(i, i + 9, CHECKED_TYPES[i % 8], 0.5) for i in range(0, len(text) - 9, 10)]
    started = time.perf_counter()
    second_look(text, spans, SETTINGS)
    assert time.perf_counter() - started < 5


def test_settings_are_strict_plain_values() -> None:
    assert parse(SecondLookSettings, to_plain(SETTINGS), source="x") == SETTINGS
    with pytest.raises(ConfigError, match="types"):
        parse(SecondLookSettings, {"types": ["PERSON"]}, source="x")
    with pytest.raises(ConfigError, match="once"):
        parse(SecondLookSettings, {"types": ["US_SSN", "US_SSN"]}, source="x")
    with pytest.raises(ConfigError, match="score"):
        parse(SecondLookSettings, {"score": 2.0}, source="x")


@pytest.mark.parametrize(
    ("text", "value", "score", "is_kept"),
    [
        ("Most salarymen of Tokyo sing, says Ryan.", "salarymen", 0.7, False),
        ("Most salarymen of Tokyo sing, says Ryan.", "salarymen", 0.95, True),
        ("Most salarymen of Tokyo sing, says Ryan.", "Ryan", 0.5, True),
        ("Most salarymen sing. They do it every day.", "salarymen", 0.7, True),
        ("i met anna at the atm and i like it", "anna", 0.7, True),
        ("I lost my ATM card, please ask anna", "anna", 0.7, True),
        ("Сегодня анна встретила Петра", "анна", 0.7, False),
        ("今日は田中さんと Bob Smith に会う", "田中", 0.7, True),
        ("Ryan sings. " + "x " * 200 + "salarymen", "salarymen", 0.7, True),
    ],
)
def test_an_unsure_name_without_a_capital_is_none_where_the_text_writes_them(
    text: str, value: str, score: float, is_kept: bool
) -> None:
    start = text.index(value)
    span = Span(start, start + len(value), "PERSON", score)
    found = second_look(text, [span], SecondLookSettings())
    assert (found == [span]) is is_kept
    assert second_look(text, [span], SecondLookSettings(veto=False)) == [span]
