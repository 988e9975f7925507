"""What a request's conversation was given before, and what to remember of this turn.

A session is known by the client's header, or by the conversation that a model's server keeps.
A tool loop is known by the conversation up to the user's last message, which every request of
the loop repeats. A turn that goes on from an answer is known by that answer's id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routewright.gateway.bodies.reading import RequestFacts
from routewright.gateway.conversations import Conversations, Turn
from routewright.gateway.exchange import Headers
from routewright.gateway.json_bytes import dump_json
from routewright.policy.decision import Decision
from routewright.policy.settings import Policy
from routewright.policy.signals import Signals


@dataclass(frozen=True, slots=True)
class History:
    """The past of one request's conversation."""

    conversations: Conversations
    caller: str
    """The client's credentials: with others there are other conversations."""
    names: tuple[bytes, ...]
    """Under which this turn is remembered."""
    session: str | None
    continues_answer: bool
    """Whether the request goes on from what a model's server keeps, and `previous` knows."""
    keeps_answer: bool
    """Whether another request may go on from this one's answer, so that its id matters."""
    previous: Turn | None

    @classmethod
    def of(
        cls,
        conversations: Conversations,
        policy: Policy,
        headers: Headers,
        facts: RequestFacts,
        body: Mapping[str, Any],
    ) -> "History":
        """Look up what was given before."""
        settings, caller = policy.conversation, headers.get("authorization", "")
        session = (
            headers.get(settings.session_header.lower()) if settings.session_header else None
        )
        names = []
        if session:
            names.append(conversations.name(["session", caller, session]))
        sessions = len(names)
        if settings.keep_in_tool_loop and (facts.open_tool_loop or _may_loop(facts, policy)):
            opening = _up_to_last_user(body)
            names.append(conversations.name(["loop", caller, facts.endpoint, opening]))
        asked = names if facts.open_tool_loop else names[:sessions]
        found = (conversations.find(name) for name in reversed(asked))
        previous = next((turn for turn in found if turn is not None), None)
        stored = facts.endpoint == "responses" and settings.keep_by_response_id
        kept = _kept_by_server(body) if stored else []
        own = (conversations.find(conversations.name([*kind, caller])) for kind in kept)
        continued = next((turn for turn in own if turn is not None), None)
        names += [conversations.name([*k, caller]) for k in kept if k[0] == "conversation"]
        return cls(
            conversations,
            caller,
            tuple(names),
            session or None,
            continued is not None,
            stored and body.get("store") is not False,
            continued or previous,
        )

    def note(self, decision: Decision) -> None:
        """Remember what this turn was given."""
        for name in self.names:
            self.conversations.note(name, Turn(decision.model, decision.name))

    def note_answer(self, decision: Decision, answer_id: str) -> None:
        """Remember whose answer has this id."""
        name = self.conversations.name(["answer", answer_id, self.caller])
        self.conversations.note(name, Turn(decision.model, decision.name))


def _kept_by_server(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the request names that its model's server keeps."""
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        conversation = conversation.get("id")
    named = [("answer", body.get("previous_response_id")), ("conversation", conversation)]
    return [(kind, name) for kind, name in named if isinstance(name, str) and name]


def _may_loop(facts: RequestFacts, policy: Policy) -> bool:
    """Whether the model may answer with a tool call, so that a loop begins."""
    return bool(facts.tools) or (facts.tool_choice == "auto" and bool(policy.tools.catalogue))


def _up_to_last_user(body: Mapping[str, Any]) -> str:
    turns = body.get("messages", body.get("input"))
    if not isinstance(turns, list):
        return dump_json(turns).decode("utf-8")
    last = max(
        (i for i, t in enumerate(turns) if isinstance(t, dict) and t.get("role") == "user"),
        default=len(turns) - 1,
    )
    return dump_json(turns[: last + 1]).decode("utf-8")


def known_signals(
    headers: Headers, facts: RequestFacts, body: Mapping[str, Any], history: History
) -> Signals:
    """What is known about a request without the model."""
    user = body.get("user")
    first = next((p.text for p in facts.texts if p.role == "user"), "")
    return Signals(
        text=facts.routing_text,
        headers={name: value for name, value in headers.items() if not name.startswith(":")},
        requested_model=facts.model,
        key=history.session or (user if isinstance(user, str) else "") or first,
        open_tool_loop=facts.open_tool_loop,
        in_session=history.session is not None,
        continues_answer=history.continues_answer,
        previous_model=history.previous.model if history.previous else None,
        previous_decision=history.previous.decision if history.previous else None,
    )
