"""The names that a client may write as ``model``, in OpenAI's shape."""

from typing import Any
from urllib.parse import unquote

from routewright.gateway.bodies.failures import HttpAnswer, error_answer
from routewright.gateway.json_bytes import dump_json
from routewright.policy.settings import Policy

MODELS_PATH = "/v1/models"


def model_list(policy: Policy) -> dict[str, Any]:
    """Names for automatic choice first, then those of the models."""
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "routewright"}
        for name in dict.fromkeys([*policy.auto_models, *policy.models])
    ]
    return {"object": "list", "data": data}


def models_answer(policy: Policy, method: str, path: str) -> HttpAnswer:
    """The answer to a request for the list, or for one model of it."""
    if method not in {"GET", "HEAD"}:
        return error_answer(
            405,
            "use GET for this endpoint",
            code="method_not_allowed",
            headers={"allow": "GET, HEAD"},
        )
    listed = model_list(policy)
    if path == MODELS_PATH:
        return HttpAnswer(200, dump_json(listed))
    name = unquote(path.removeprefix(f"{MODELS_PATH}/"))  # clients write "/" as %2F
    found = next((model for model in listed["data"] if model["id"] == name), None)
    if found is None:
        return error_answer(404, "there is no such model", code="unknown_model", param="model")
    return HttpAnswer(200, dump_json(found))
