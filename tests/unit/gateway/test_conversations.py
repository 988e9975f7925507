"""What is remembered about conversations, for how long, and what cannot be read from it."""

from routewright.gateway.conversations import Conversations, Turn


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_turn_is_found_until_it_expires_and_each_turn_begins_the_time_anew() -> None:
    clock = Clock()
    conversations = Conversations(ttl_s=10, now=clock)
    name = conversations.name(["session", "of one"])
    conversations.note(name, Turn("small", None))
    clock.seconds = 9
    conversations.note(name, Turn("large", "maths"))
    clock.seconds = 18
    assert conversations.find(name) == Turn("large", "maths")
    assert conversations.find(conversations.name(["session", "of another"])) is None
    clock.seconds = 20
    assert conversations.find(name) is None


def test_expired_turns_are_dropped_as_new_ones_come() -> None:
    clock = Clock()
    conversations = Conversations(ttl_s=1, now=clock)
    for number in range(1000):
        clock.seconds = float(number)
        conversations.note(conversations.name([str(number)]), Turn("small", None))
    assert len(conversations._turns) < 5


def test_parts_are_told_apart_and_cannot_be_read_from_the_name() -> None:
    conversations = Conversations(ttl_s=1)
    assert conversations.name(["ab", "c"]) != conversations.name(["a", "bc"])
    assert b"secret" not in conversations.name(["secret"])
    assert Conversations(ttl_s=1).name(["a"]) != conversations.name(["a"])
    assert conversations.name(["\ud800"]) != conversations.name(["\udfff"])
