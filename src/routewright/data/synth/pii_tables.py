"""Records in machine formats: only values are entities, never keys, heads, tags or ids."""

from collections.abc import Callable, Sequence

from routewright.data.synth import pii_addresses as addresses
from routewright.data.synth import pii_chat as chat
from routewright.data.synth import pii_code as code
from routewright.data.synth import pii_extra as extra
from routewright.data.synth import pii_lookalikes as lookalikes
from routewright.data.synth import pii_numbers as numbers
from routewright.data.synth import pii_people as people
from routewright.data.synth import pii_places as places
from routewright.data.synth import pii_times as times
from routewright.data.synth.grammar import Piece
from routewright.data.synth.pii_draw import Draw

Column = tuple[str, str | None, Callable[[Draw], str]]
Record = Sequence[tuple[str, Piece]]

# What stands twice, a key or a whole column, is drawn twice as often.
_ENTITIES: Sequence[Column] = (
    ("name,full name,customer,patient,passenger,guest,assignee,contact,tenant,employee,rider,"
     "pupil,holder,driver,booked by,signed by", "PERSON", people.full_name),
    ("first name,given name,user,reviewer,who,owner,nickname,approver", "PERSON",
     people.first_name),
    ("last name,surname,family name,operator", "PERSON", people.last_name),
    ("city,town,origin,destination,birthplace,from,to,geo,branch,depot,city", "GPE",
    places.city),
    ("country,geo,country of origin,market,region", "GPE", places.country),
    ("state,province,geo state", "GPE", places.state),
    ("zip,postcode,zip code,postal code,zip", "ZIP_CODE", addresses.postal_code),
    ("age,age,age at entry,age years,patient age", "AGE", people.age),
    ("religion,nationality,citizenship,faith,ethnicity,party", "NRP", people.nationality),
    ("role,title,position,occupation,job,duty", "TITLE", extra.long_job),
    ("company,employer,vendor,carrier,org,insurer,supplier,client", "ORGANIZATION",
     people.organization),
    ("hospital,school,clinic,insurer,provider", "ORGANIZATION", extra.institution),
    ("email,mail,contact email,login", "EMAIL_ADDRESS", numbers.email),
    ("phone,mobile,tel,fax,callback", "PHONE_NUMBER", numbers.phone),
    ("ip,client ip,src,remote addr,peer", "IP_ADDRESS", numbers.ip_address),
    ("host,domain,site,upstream,website,server name,vhost", "DOMAIN_NAME", code.host),
    ("host,domain,site,upstream,website,server name,vhost", "DOMAIN_NAME", code.host),
    ("created at,ts,updated,departure,timestamp,arrived,last seen", "DATE_TIME",
    times.log_time),
    ("date,dob,birth date,due,hired,valid from,visit", "DATE_TIME", times.date),
    ("ssn,tax id,social", "US_SSN", numbers.social_security_number),
    ("iban,account,payout", "IBAN_CODE", numbers.iban),
    ("card,card no,pan", "CREDIT_CARD", numbers.card),
)  # fmt: skip
_PLAIN: Sequence[Column] = (
    ("id,row,seq,pid,port,line,request,uid,#,session", None, code.process_number),
    ("kiln,batch,lot,bay,locker,rack,gate,ward,shelf", None, code.batch),
    ("qty,units,pieces,weight,score,points,ms,bytes", None, lookalikes.quantity),
    ("status,state of order,phase,result,flag", None, code.flag),
    ("price,total,fee,balance,salary", None, lookalikes.price),
    ("sku,code,ref,hash,plate", None, lookalikes.code),
    ("order,ticket,case,invoice", None, lookalikes.order_number),
    ("item,material,topic,note,crop", None, lambda draw: draw.word("terms")),
    ("class,module,logger,handler", None, code.dotted),
    ("file,path,attachment", None, code.source_file),
    ("version,build,agent", None, code.release),
    ("took,duration,uptime", None, lookalikes.duration),
    ("type,relation,kind,party,category,who is it", None, chat.party),
    ("class,size,variant,option,paid by,priority", None, chat.kind_of_thing),
    ("product,article,model", None, lookalikes.product),
    ("parcel,tracking,consignment", None, lookalikes.tracking_number),
)
_SEPARATORS = (",", ",", ",", ";", "\t", "|")


def record_block(draw: Draw) -> tuple[Piece, ...]:
    """Records with personal data in any format."""
    return tuple(_block(draw, plain=False))


def plain_block(draw: Draw) -> str:
    """Records without personal data in any format."""
    return "".join(piece.text for piece in _block(draw, plain=True))


def _block(draw: Draw, *, plain: bool) -> list[Piece]:
    columns = _columns(draw, plain=plain)
    form = draw.rng.choice((
        _csv, _csv, _csv, _markdown, _html, _html, _sql, _sql, _yaml, _json, _json,
        _log, _log, _log,
        _form, _form, _xml, _inputs,
    ))  # fmt: skip
    many = form in (_csv, _markdown, _html, _sql)
    count = draw.rng.randint(2, 5) if many else draw.rng.choice((1, 1, 1, 2, 3))
    records = [
        [(key, _value(draw, maker, label)) for key, label, maker in columns]
        for _ in range(count)
    ]
    return form(draw, records)


def _value(draw: Draw, maker: Callable[[Draw], str], label: str | None) -> Piece:
    return Piece(" ".join(maker(draw).split()), label)


def _columns(draw: Draw, *, plain: bool) -> list[Column]:
    count = draw.rng.randint(2, 5)
    some = [] if plain else draw.rng.sample(_ENTITIES, draw.rng.randint(1, count))
    others = draw.rng.sample(
        _PLAIN, max(count - len(some), 1 if plain or draw.chance(0.6) else 0)
    )
    chosen = [*some, *others]
    if draw.chance(0.6):
        draw.rng.shuffle(chosen)
    style = draw.rng.choice((_snake, _snake, _camel, str.capitalize, str.title, str.upper, str))
    columns: dict[str, Column] = {}
    for keys, label, maker in chosen:
        key = style(draw.rng.choice(keys.split(",")))
        columns.setdefault(key, (key, label, maker))
    return list(columns.values())


def _snake(key: str) -> str:
    return key.replace(" ", "_")


def _camel(key: str) -> str:
    first, *rest = key.split(" ")
    return first + "".join(word.capitalize() for word in rest)


def _table_name(draw: Draw) -> str:
    return draw.word("code_nouns") + "s"


def _joined(cells: Sequence[Sequence[Piece]], separator: str) -> list[Piece]:
    pieces: list[Piece] = []
    for i, cell in enumerate(cells):
        pieces += [Piece(separator)] * (i > 0) + list(cell)
    return pieces


def _csv(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    separator = draw.rng.choice(_SEPARATORS)
    all_quoted = draw.chance(0.15)
    lines = [[Piece(separator.join(key for key, _ in records[0]))]] if draw.chance(0.85) else []
    for record in records:
        cells = [
            [Piece('"'), value, Piece('"')]
            if all_quoted or separator in value.text
            else [value]
            for _, value in record
        ]
        lines.append(_joined(cells, separator))
    return _joined(lines, "\n")


def _markdown(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    head = "| " + " | ".join(key for key, _ in records[0]) + " |\n"
    rule = "|" + "---|" * len(records[0]) + "\n" if draw.chance(0.8) else ""
    rows = [
        [Piece("| "), *_joined([[value] for _, value in record], " | "), Piece(" |")]
        for record in records
    ]
    return [Piece(head + rule), *_joined(rows, "\n")]


def _html(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    gap = draw.rng.choice(("", "\n", "\n  "))
    head = "".join(f"<th>{key}</th>" for key, _ in records[0])
    pieces = [Piece(f"<table>{gap}" + (f"<tr>{head}</tr>{gap}" if draw.chance(0.8) else ""))]
    for record in records:
        cells = [[Piece("<td>"), value, Piece("</td>")] for _, value in record]
        pieces += [Piece("<tr>"), *_joined(cells, ""), Piece(f"</tr>{gap}")]
    return [*pieces, Piece("</table>")]


def _sql(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    columns = (
        f" ({', '.join(_snake(key) for key, _ in records[0])})" if draw.chance(0.8) else ""
    )
    insert = draw.rng.choice(("INSERT INTO", "insert into", "REPLACE INTO"))
    rows = []
    for record in records:
        cells = [
            [v]
            if v.text.isdigit()
            else [Piece("'"), Piece(v.text.replace("'", ""), v.label), Piece("'")]
            for _, v in record
        ]
        rows.append([Piece("("), *_joined(cells, ", "), Piece(")")])
    start = f"{insert} {_table_name(draw)}{columns} VALUES "
    return [Piece(start), *_joined(rows, draw.rng.choice((", ", ",\n  "))), Piece(";")]


def _yaml(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    name = f"{_table_name(draw)}:\n"
    pieces = [Piece(name)] if draw.chance(0.6) else []
    quote = draw.rng.choice(("", "", '"', "'"))
    margin = "  " if pieces else ""
    for record in records:
        for i, (key, value) in enumerate(record):
            mark = "- " if i == 0 else "  "
            pieces += [Piece(f"{margin}{mark}{key}: {quote}"), value, Piece(f"{quote}\n")]
    return pieces


def _json(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    gap = draw.rng.choice((" ", " ", "\n  "))
    objects = []
    for record in records:
        cells = []
        for key, v in record:
            quote = "" if v.text.isdigit() and v.text[0] != "0" else '"'
            cells.append([Piece(f'"{key}": {quote}'), v, Piece(quote)])
        objects.append(
            [Piece("{" + gap.removeprefix(" ")), *_joined(cells, f",{gap}"), Piece("}")]
        )
    if len(objects) == 1:
        return objects[0]
    start, end = draw.rng.choice((("[", "]"), ('{"data": [', "]}"), ("", "")))
    return [Piece(start), *_joined(objects, ",\n" if start else "\n"), Piece(end)]


def _log(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    """Lines of a log with keys and values; the time stamps have one format."""
    equals, quote = draw.rng.choice((("=", ""), ("=", ""), ("=", '"'), (": ", ""), ("=", "'")))
    shape = draw.rng.choice(("{} ", "[{}] ", "{} - ", "<{}> ", "time={} ", "ts={} ", ""))
    stamped = shape and any(value.label for _, value in records[0])
    before, _, after = shape.partition("{}")
    where = draw.rng.choice(("module", "thread", "pid", "none"))
    lines = []
    for record in records:
        cells = [[Piece(f"{key}{equals}{quote}"), value, Piece(quote)] for key, value in record]
        stamp = [Piece(before), Piece(times.log_time(draw), "DATE_TIME"), Piece(after)]
        middle = {
            "module": f"{code.java_class(draw)} - ", "thread": f"[worker-{draw.digits('#')}] ",
            "pid": f"{draw.word('code_nouns')}d[{code.process_number(draw)}]: ", "none": "",
        }[where]  # fmt: skip
        level = draw.rng.choice(("INFO ", "WARN ", "ERROR ", "DEBUG ", "level=info ", ""))
        message = f"{draw.word('code_verbs')} {draw.word('code_nouns')} "
        start = Piece(level + middle + (message if draw.chance(0.6) else ""))
        lines.append([*(stamp if stamped else []), start, *_joined(cells, " ")])
    return _joined(lines, "\n")


def _form(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    mark = draw.rng.choice((": ", ": ", ":\t", " = ", "\n  ", " ..... "))
    end = draw.rng.choice(("\n", "\n", "\n", "; ", " | "))
    blocks = [
        _joined([[Piece(f"{key[0].upper()}{key[1:]}{mark}"), value] for key, value in r], end)
        for r in records
    ]
    return _joined(blocks, "\n\n")


def _xml(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    name = draw.word("code_nouns")
    pieces: list[Piece] = []
    for record in records:
        pieces.append(Piece(f"<{name}>"))
        for key, value in record:
            tag = _camel(key).replace("#", "no")
            pieces += [Piece(f"<{tag}>"), value, Piece(f"</{tag}>")]
        pieces.append(Piece(f"</{name}>\n"))
    return pieces


def _inputs(draw: Draw, records: Sequence[Record]) -> list[Piece]:
    tag = draw.rng.choice(("input", "field", "param", "meta"))
    lines = [
        [Piece(f'<{tag} name="{_snake(key)}" value="'), value, Piece('">')]
        for record in records[:1]
        for key, value in record
    ]
    return _joined(lines, "\n")
