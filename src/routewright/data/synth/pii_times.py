"""Absolute dates and times in the many ways people write them."""

import datetime

from routewright.data.synth.pii_draw import Draw

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_NUMERIC = (
    "{m}/{d}/{y}", "{m}/{d}/{y}", "{d:02}.{m:02}.{y}", "{y}-{m:02}-{d:02}", "{d:02}/{m:02}/{y}",
    "{d}-{m}-{y}", "{m}/{d}/{yy:02}", "{y}/{m:02}/{d:02}", "{d:02}-{mon}-{y}",
    "{d}.{m}.{yy:02}",
)  # fmt: skip
_WORDED = (
    "{month} {d}, {y}", "{d} {month} {y}", "{d}{th} of {month}", "the {d}{th} of {month}",
    "{month} {d}{th}", "{mon} {d}, {y}", "{d} {mon} {y}", "{month} {y}", "{mon} {y}",
    "{month} {d}",
    "{d}{th} {month} {y}", "{day}, {month} {d}", "{day}, {d} {month} {y}", "{day} {d} {month}",
    "{month} {d}{th}, {y}", "{day} the {d}{th}", "{mon}. {d}, {y}",
)  # fmt: skip
_TIMES = (
    "{h12}:{mi:02} pm", "{h12}:{mi:02}am", "{h:02}:{mi:02}", "{h12} PM", "{h12} a.m.",
    "{h:02}:{mi:02}:{s:02}", "{h12}.{mi:02}pm", "{h:02}h{mi:02}", "{h12}pm", "{h12} o'clock",
)  # fmt: skip
_STAMPS = (
    "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}", "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}",
    "{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z", "{d}/{m}/{y} {h:02}:{mi:02}",
    "{d:02}/{mon}/{y}:{h:02}:{mi:02}:{s:02} +0000", "{month} {d}, {y} at {h12}:{mi:02} pm",
    "{day}, {d:02} {mon} {y} {h:02}:{mi:02}:{s:02}",
)  # fmt: skip
_LOG_TIMES = (
    "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02},{ms:03}",
    "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}.{ms:03}",
    "{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}Z",
    "{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z",
    "{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}+02:00", "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02}",
    "{y}-{m:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}{s:03}",
    "{mon} {d:>2} {h:02}:{mi:02}:{s:02}",
    "{y}/{m:02}/{d:02} {h:02}:{mi:02}:{s:02}", "{d:02}-{mon}-{y} {h:02}:{mi:02}:{s:02}.{ms:03}",
    "{d:02}/{mon}/{y}:{h:02}:{mi:02}:{s:02} +0200",
    "{day3} {mon} {d} {h:02}:{mi:02}:{s:02} {y}",
    "{h:02}:{mi:02}:{s:02},{ms:03}", "{h:02}:{mi:02}:{s:02}.{ms:03}", "{h:02}:{mi:02}:{s:02}",
    "{y}-{m:02}-{d:02} {h:02}:{mi:02}:{s:02} UTC", "{d:02}.{m:02}.{y} {h:02}:{mi:02}:{s:02}",
    "{y}{m:02}{d:02}T{h:02}{mi:02}{s:02}Z", "{m:02}/{d:02}/{y} {h12}:{mi:02}:{s:02} PM",
    "{y}-{m:02}-{d:02} {h:02}:{mi:02}",
)  # fmt: skip
_MOMENTS = (
    "{d} {month} {y}, {h12}:{mi:02} am", "{d} {month} {y}, {h:02}:{mi:02}",
    "{month} {d}, {y}, {h12}:{mi:02} pm",
    "{day}, {d} {month} {y}, {h:02}:{mi:02}", "{d} {mon} {y}, {h12}.{mi:02}pm",
    "{d}.{m}.{y}, {h:02}:{mi:02}",
    "{d:02}/{m:02}/{y}, {h:02}:{mi:02}", "{y}-{m:02}-{d:02}, {h:02}:{mi:02}",
    "{month} {d}, {y} at {h12}:{mi:02} pm",
    "{mon} {d}, {y} {h12}:{mi:02} AM", "{d} {month} {y} at {h:02}:{mi:02}",
    "{m}/{d}/{y} {h12}:{mi:02} PM",
    "{day} {d} {month}, {h12} am", "{month} {d}{th}, {h12}:{mi:02} p.m.",
    "{d}{th} {month} {y}, {h12} pm",
    "{day}, {month} {d}, {y} at {h12} a.m.", "{d} {month}, {h:02}:{mi:02}",
)  # fmt: skip
"""A calendar date and the time right behind it are one value."""


def _format(draw: Draw, forms: tuple[str, ...], first_year: int = 1930) -> str:
    rng = draw.rng
    date = datetime.date(rng.randint(first_year, 2026), 1, 1) + datetime.timedelta(
        days=rng.randrange(365)
    )
    suffix = (
        "th" if 10 < date.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10, "th")
    )
    month = _MONTHS[date.month - 1]
    return rng.choice(forms).format(
        y=date.year, yy=date.year % 100, m=date.month, d=date.day, th=suffix,
        month=month, mon=month[:3], day=_DAYS[date.weekday()], day3=_DAYS[date.weekday()][:3],
        h=rng.randrange(24), h12=rng.randint(1, 12), mi=rng.randrange(60), s=rng.randrange(60),
        ms=rng.randrange(1000),
    )  # fmt: skip


def date(draw: Draw) -> str:
    """A calendar date."""
    return _format(draw, _NUMERIC if draw.chance(0.55) else _WORDED)


def recent_date(draw: Draw) -> str:
    """A date of business, not of birth."""
    return _format(draw, _NUMERIC if draw.chance(0.4) else _WORDED, first_year=2005)


def time(draw: Draw) -> str:
    """A time of day."""
    return _format(draw, _TIMES)


def timestamp(draw: Draw) -> str:
    """Date and time."""
    return _format(draw, _STAMPS, first_year=1970)


def log_time(draw: Draw) -> str:
    """A time stamp of a log; all of one text have the same format."""
    form = draw.remembered.setdefault("log_time", draw.rng.choice(_LOG_TIMES))
    return _format(draw, (form,), first_year=2005)


def moment(draw: Draw) -> str:
    """A calendar date with a time behind it, as people write it."""
    return _format(draw, _MOMENTS, first_year=1990)


def year(draw: Draw) -> str:
    """A year alone."""
    return str(draw.rng.randint(1890, 2026))


def weekday(draw: Draw) -> str:
    """A day of the week."""
    return draw.rng.choice(_DAYS)


def month(draw: Draw) -> str:
    """A month, with or without its year."""
    name = draw.rng.choice(_MONTHS)
    return name if draw.chance(0.6) else f"{name} {draw.rng.randint(1950, 2026)}"


def any_time(draw: Draw) -> str:
    """Any of the forms above."""
    return draw.rng.choice((date, date, recent_date, timestamp, year, weekday, month))(draw)
