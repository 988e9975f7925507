"""What goes to a model's server with a request, and what the client is told of it."""

from typing import Any

import pytest
from tests.gateway_parts import NEUTRAL, chat, deployment, make_gateway, run

from routewright.gateway.outgoing import forward_to, model_headers

DESTINATION = "x-vsr-destination-endpoint"


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://10.0.0.1:8000", "10.0.0.1:8000"),
        ("http://[fd00::2]:8000", "[fd00::2]:8000"),
        ("http://models.internal:8000", None),
        ("https://10.0.0.1", None),
    ],
)
def test_a_client_cannot_name_the_destination_where_the_gateway_names_none(
    url: str, destination: str | None
) -> None:
    models = {"small": {"endpoints": url}}
    deployed = deployment({"models": models, "decisions": []}, small="key")
    forward = forward_to(deployed, "small", None, model_headers(deployed, "small"))
    assert forward.set_headers.get(DESTINATION) == destination
    assert forward.remove_headers == (() if destination else (DESTINATION,))
    assert forward.set_headers["authorization"] == "Bearer key"
    assert forward.endpoints[0].url == url


@pytest.mark.parametrize(
    ("path", "body", "injected"),
    [
        ("/v1/chat/completions", chat(NEUTRAL), "true"),
        ("/v1/responses", {"model": "auto", "input": NEUTRAL}, "true"),
        ("/v1/completions", {"model": "auto", "prompt": NEUTRAL}, "false"),
        ("/v1/embeddings", {"model": "auto", "input": NEUTRAL}, "false"),
    ],
)
def test_a_system_prompt_is_told_where_it_was_added(
    path: str, body: dict[str, Any], injected: str
) -> None:
    rule = {"name": "all", "models": ["small"], "system_prompt": "Show every step."}

    async def scene() -> None:
        asked = await make_gateway({"decisions": [rule]}).ask(body, path=path)
        assert (await asked.told())["x-vsr-injected-system-prompt"] == injected
        assert (b"Show every step." in (asked.forward.body or b"")) is (injected == "true")

    run(scene())


def test_no_request_keeps_a_destination_of_the_clients_own() -> None:
    models = {"small": {"endpoints": "https://models.internal"}}

    async def scene() -> None:
        gateway = make_gateway({"models": models, "decisions": [], "guards": {}})
        asked = await gateway.ask(chat(NEUTRAL), x_vsr_destination_endpoint="10.0.0.9:80")
        for forward in (asked.forward, asked.handler.unguarded()):
            assert forward.remove_headers == (DESTINATION,)

    run(scene())
