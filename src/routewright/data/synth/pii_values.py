"""The slots of the PII templates: what fills each, and the entity type it is."""

from collections.abc import Callable, Mapping
from functools import partial

from routewright.data.synth import pii_addresses as addresses
from routewright.data.synth import pii_chat as chat
from routewright.data.synth import pii_code as code
from routewright.data.synth import pii_extra as extra
from routewright.data.synth import pii_lookalikes as lookalikes
from routewright.data.synth import pii_numbers as numbers
from routewright.data.synth import pii_open as words
from routewright.data.synth import pii_people as people
from routewright.data.synth import pii_places as places
from routewright.data.synth import pii_tables as tables
from routewright.data.synth import pii_times as times
from routewright.data.synth.grammar import Piece
from routewright.data.synth.pii_draw import Draw

Maker = Callable[[Draw], str]

ENTITY_SLOTS: Mapping[str, tuple[str, Maker]] = {
    "person": ("PERSON", people.any_person),
    "name": ("PERSON", people.full_name),
    "first": ("PERSON", people.first_name),
    "last": ("PERSON", people.last_name),
    "last_first": ("PERSON", people.last_first),
    "initials": ("PERSON", people.initials_name),
    "same_first": ("PERSON", people.same_first_name),
    "same_last": ("PERSON", people.same_last_name),
    "speaker1": ("PERSON", partial(people.repeated_person, slot="speaker1")),
    "speaker2": ("PERSON", partial(people.repeated_person, slot="speaker2")),
    "suffixed": ("PERSON", extra.suffixed_name),
    "word_name": ("PERSON", extra.word_name),
    "word_full_name": ("PERSON", extra.word_full_name),
    "low_first": ("PERSON", extra.lower_first),
    "low_name": ("PERSON", extra.lower_name),
    "chat_name": ("PERSON", extra.chat_name),
    "low_word": ("PERSON", chat.lower_word_name),
    "low_double": ("PERSON", chat.lower_double_first),
    "double": ("PERSON", chat.double_first),
    "pet": ("PERSON", chat.pet_name),
    "low_pet": ("PERSON", chat.lower_pet_name),
    "low_last": ("PERSON", chat.lower_last),
    "word_last": ("PERSON", chat.word_last),
    "all_word_name": ("PERSON", chat.all_word_name),
    "again": ("PERSON", extra.repeated_first),
    "long_job": ("TITLE", extra.long_job),
    "institution": ("ORGANIZATION", extra.institution),
    "trade_firm": ("ORGANIZATION", extra.trade_firm),
    "case_party": ("ORGANIZATION", extra.case_party),
    "age_words": ("AGE", extra.age_in_words),
    "small_age_words": ("AGE", chat.child_age_in_words),
    "low_mr": ("TITLE", chat.lower_honorific),
    "low_job": ("TITLE", chat.lower_job),
    "mr": ("TITLE", people.honorific),
    "job": ("TITLE", people.job),
    "org": ("ORGANIZATION", people.organization),
    "firm": ("ORGANIZATION", people.person_like_organization),
    "brand": ("ORGANIZATION", people.invented_brand),
    "age": ("AGE", people.age),
    "months": ("AGE", people.small_age),
    "nrp": ("NRP", people.nationality),
    "nrps": ("NRP", people.group),
    "gpe": ("GPE", places.any_place),
    "city": ("GPE", places.city),
    "low_city": ("GPE", chat.lower_city),
    "low_country": ("GPE", chat.lower_country),
    "country": ("GPE", places.country),
    "state": ("GPE", places.state),
    "state_code": ("GPE", places.state_code),
    "street": ("STREET_ADDRESS", addresses.street),
    "street_name": ("STREET_ADDRESS", addresses.street_name),
    "corner": ("STREET_ADDRESS", addresses.corner),
    "address": ("STREET_ADDRESS", addresses.any_address),
    "address_line": ("STREET_ADDRESS", addresses.address_line),
    "address_lines": ("STREET_ADDRESS", addresses.address_lines),
    "zip": ("ZIP_CODE", addresses.postal_code),
    "date": ("DATE_TIME", times.date),
    "day": ("DATE_TIME", times.recent_date),
    "time": ("DATE_TIME", times.time),
    "timestamp": ("DATE_TIME", times.timestamp),
    "log_time": ("DATE_TIME", times.log_time),
    "moment": ("DATE_TIME", times.moment),
    "year": ("DATE_TIME", times.year),
    "weekday": ("DATE_TIME", times.weekday),
    "low_day": ("DATE_TIME", chat.lower_weekday),
    "low_month": ("DATE_TIME", chat.lower_month),
    "month": ("DATE_TIME", times.month),
    "when": ("DATE_TIME", times.any_time),
    "card": ("CREDIT_CARD", numbers.card),
    "card_ending": ("CREDIT_CARD", numbers.card_ending),
    "iban": ("IBAN_CODE", numbers.iban),
    "ssn": ("US_SSN", numbers.social_security_number),
    "license": ("US_DRIVER_LICENSE", numbers.driver_license),
    "phone": ("PHONE_NUMBER", numbers.phone),
    "ip": ("IP_ADDRESS", numbers.ip_address),
    "domain": ("DOMAIN_NAME", numbers.domain),
    "bare_domain": ("DOMAIN_NAME", numbers.bare_domain),
    "site": ("DOMAIN_NAME", chat.site),
    "host": ("DOMAIN_NAME", code.host),
    "host_url": ("DOMAIN_NAME", code.host_url),
    "email": ("EMAIL_ADDRESS", numbers.email),
}
"""Slot to entity type and maker."""

PLAIN_SLOTS: Mapping[str, Maker] = {
    "order": lookalikes.order_number,
    "tracking": lookalikes.tracking_number,
    "version": lookalikes.version,
    "isbn": lookalikes.isbn,
    "price": lookalikes.price,
    "number": lookalikes.quantity,
    "percent": lookalikes.percentage,
    "duration": lookalikes.duration,
    "relative": lookalikes.relative_time,
    "code": lookalikes.code,
    "file": lookalikes.file_name,
    "product": lookalikes.product,
    "namelike": lookalikes.name_like_word,
    "path": numbers.url_path,
    "work": lookalikes.work,
    "band": lookalikes.band,
    "magazine": lookalikes.magazine,
    "proper": lookalikes.proper_name,
    "prize": partial(Draw.word, name="prizes"),
    "law": partial(Draw.word, name="laws"),
    "holiday": partial(Draw.word, name="holidays"),
    "sight": partial(Draw.word, name="sights"),
    "royal": partial(Draw.word, name="royals"),
    "acronym": lookalikes.acronym,
    "role": lookalikes.role,
    "party": chat.party,
    "Party": chat.capital_party,
    "kind": chat.kind_of_thing,
    "spelled": chat.spelled_number,
    "Spelled": chat.capital_spelled_number,
    "flag": code.flag,
    "term": partial(Draw.word, name="terms"),
    "measure": lookalikes.measure,
    "formula": partial(Draw.word, name="formulas"),
    "eponym": partial(Draw.word, name="eponyms"),
    "user": people.username,
    "dotted": code.dotted,
    "java": code.java_class,
    "trace": code.trace_line,
    "source": code.source_file,
    "release": code.release,
    "pid": code.process_number,
    "batch": code.batch,
    "plain_records": tables.plain_block,
    "caps": partial(Draw.word, name="caps_words"),
    "trade_word": partial(Draw.word, name="trade_adjectives"),
    "noun": words.noun,
    "verb": words.verb,
    "adj": words.adjective,
    "adverb": words.adverb,
    "Noun": words.capital_noun,
    "Adj": words.capital_adjective,
    "trade": words.trade,
}
"""Slot to the maker of a value that is no entity."""

BLOCK_SLOTS: Mapping[str, str] = {
    "block": " ",
    "block_flush": "",
    "block_quoted": "> ",
    "block_deep": "    ",
}
"""Slot of a letter-head address to the margin of its lines."""

PIECE_SLOTS: Mapping[str, Callable[[Draw], tuple[Piece, ...]]] = {
    "field_street": addresses.field_street,
    "road": addresses.road,
    "records": tables.record_block,
}
"""Slot to the maker of several pieces."""


def make_slot(draw: Draw, slot: str) -> tuple[Piece, ...]:
    """Pieces that fill a slot.

    Raises:
        KeyError: no such slot.
    """
    if slot in PLAIN_SLOTS:
        return (Piece(PLAIN_SLOTS[slot](draw)),)
    if slot in BLOCK_SLOTS:
        return addresses.address_block(draw, BLOCK_SLOTS[slot])
    if slot in PIECE_SLOTS:
        return PIECE_SLOTS[slot](draw)
    label, maker = ENTITY_SLOTS[slot]
    return (Piece(maker(draw).strip(), label),)
