"""What logs and code are full of: hosts of several labels, and dotted names that are none."""

from routewright.data.synth.pii_draw import Draw


def _label(draw: Draw) -> str:
    """A label of a host in front of its domain, mostly with a number."""
    word = draw.word("host_labels")
    number = draw.rng.choice(
        (str(draw.rng.randint(1, 9)), draw.digits("##"), draw.digits("###"))
    )
    return draw.rng.choice((
        word, word, f"{word}{number}", f"{word}{number}", f"{word}-{number}",
        f"{word}-{draw.word('host_zones')}", f"{word}-{draw.word('host_labels')}{number}",
        f"v{draw.rng.randint(1, 4)}", draw.word("host_zones"),
        f"{draw.rng.choice('abcdnsw')}{number}",
    ))  # fmt: skip


def host(draw: Draw) -> str:
    """A host of three to five labels: ``cdn3.shop.example.net``."""
    stem = draw.word("domain_words")
    kind = draw.rng.random()
    if kind < 0.15:
        stem = "example"
    elif kind < 0.5:
        stem += draw.word("domain_words")
    elif kind < 0.6:
        stem = f"{stem}{draw.rng.randint(2, 365)}"
    elif kind < 0.7:
        stem = f"{stem}-{draw.word('domain_words')}"
    labels = [_label(draw) for _ in range(draw.rng.choice((1, 1, 1, 2, 2, 3)))]
    return ".".join((*labels, stem, draw.word("top_domains")))


def host_url(draw: Draw) -> str:
    """A host, now and then with its scheme."""
    if draw.chance(0.8):
        return host(draw)
    return f"{draw.rng.choice(('https', 'https', 'http'))}://{host(draw)}"


def _camel(draw: Draw, count: int) -> str:
    return "".join(draw.word("code_nouns").capitalize() for _ in range(count))


def _snake(draw: Draw) -> str:
    return f"{draw.word('code_verbs')}_{draw.word('code_nouns')}"


def java_class(draw: Draw) -> str:
    """A class with its package."""
    package = [
        draw.rng.choice(("com", "org", "net", "io", "de", "java", "javax")),
        draw.word("domain_words"),
        *(draw.word("code_nouns") for _ in range(draw.rng.choice((1, 1, 2, 3)))),
    ]
    if draw.chance(0.15):
        return ".".join(package)
    return ".".join((*package, _camel(draw, 1) + draw.word("class_ends")))


def java_method(draw: Draw) -> str:
    """A method with its class and package."""
    verb, noun = draw.word("code_verbs"), draw.word("code_nouns").capitalize()
    return f"{java_class(draw)}.{verb}{noun}"


def dotted(draw: Draw) -> str:
    """A dotted name of source code, of any language."""
    noun, other, verb = (
        draw.word("code_nouns"), draw.word("code_nouns"), draw.word("code_verbs"),
    )  # fmt: skip
    forms = (
        java_class(draw), java_class(draw), java_method(draw), f"{noun}.{other}.{_snake(draw)}",
        f"{noun}s.{_snake(draw)}", f"self.{noun}.{verb}", f"this.{noun}.{verb}()",
        f"{noun}.{verb}()", f"{noun}.{other}", f"{_camel(draw, 1)}.{verb}{other.capitalize()}",
        f"{_camel(draw, 2)}.{other.upper()}", f"{noun}s[{draw.rng.randint(0, 9)}].{other}",
        f"app.{noun}.{other}.{verb}", f"tests.{noun}.test_{_snake(draw)}",
        f"{noun}.{draw.word('known_calls')}", draw.word("known_dotted"),
        f"{noun}_{other}.{verb}", f"spring.{noun}.{other}.enabled", f"{noun}.{other}.max-size",
        f"metrics.{noun}.{other}.p{draw.rng.choice((50, 95, 99))}",
        f"{draw.word('domain_words')}.{noun}.v{draw.rng.randint(1, 3)}",
        f"Microsoft.Extensions.{_camel(draw, 1)}", f"{_camel(draw, 1)}.{_camel(draw, 1)}.Core",
        f"{other}_{noun}.{draw.word('code_verbs')}_all",
    )  # fmt: skip
    return draw.rng.choice(forms)


def source_file(draw: Draw) -> str:
    """A file of a project, at times with folders or two endings."""
    noun, other = draw.word("code_nouns"), draw.word("code_nouns")
    name = draw.rng.choice((
        f"{noun}_{other}", f"{noun}-{other}", noun, f"{noun}{draw.rng.randint(1, 40)}",
        _camel(draw, 2), f"{noun}.{draw.word('middle_ends')}",
        f"{noun}_v{draw.rng.randint(1, 9)}.{draw.rng.randint(0, 9)}", f"{noun}_final_{other}",
        f"lib{noun}",
    ))  # fmt: skip
    folder = draw.rng.choice(("", "", "", f"src/{other}/", f"/var/log/{noun}/", f"./{other}/"))
    return f"{folder}{name}.{draw.word('file_ends')}"


def release(draw: Draw) -> str:
    """A program and its version."""
    numbers = ".".join(
        str(draw.rng.randint(0, 30)) for _ in range(draw.rng.choice((2, 3, 3, 4)))
    )
    tool = draw.rng.choice((draw.word("tools"), draw.word("code_nouns")))
    end = draw.rng.choice(
        ("", "", "", "-rc2", "-beta.3", "+build7", ".post1", "-SNAPSHOT", ".RELEASE")
    )
    return draw.rng.choice((
        f"{tool} {numbers}{end}", f"{tool}/{numbers}{end}", f"{tool}=={numbers}",
        f"{tool}@{numbers}{end}", f"{tool}-{numbers}{end}.jar", f"v{numbers}{end}",
    ))  # fmt: skip


def process_number(draw: Draw) -> str:
    """A process, port, line or request number."""
    return str(draw.rng.choice((draw.rng.randint(2, 99), draw.rng.randint(1000, 65535))))


def batch(draw: Draw) -> str:
    """A kiln, batch, lot or bay."""
    return draw.digits(draw.rng.choice(("@-#", "@##", "##", "#@", "LOT-###", "@@-##")))


def flag(draw: Draw) -> str:
    """A state of something."""
    return draw.word("states_of_things")


def trace_line(draw: Draw) -> str:
    """A line of a stack trace."""
    line = draw.rng.randint(3, 990)
    noun = draw.word("code_nouns")
    name = f"{noun.capitalize()}.{draw.rng.choice(('java', 'kt', 'scala'))}"
    return draw.rng.choice((
        f"    at {java_method(draw)}({name}:{line})",
        f"    at {java_method(draw)}({name}:{line})",
        f"    at {dotted(draw)} ({source_file(draw)}:{line}:{draw.rng.randint(1, 80)})",
        f'  File "{source_file(draw)}", line {line}, in {_snake(draw)}',
        f"   at {_camel(draw, 1)}.{_camel(draw, 1)}.{_camel(draw, 1)}() in {source_file(draw)}",
        f"\tfrom {source_file(draw)}:{line}:in `{_snake(draw)}'",
        f"{source_file(draw)}:{line}: {dotted(draw)} is not defined",
        f"Caused by: {java_class(draw)}: {noun} must not be null",
    ))  # fmt: skip
