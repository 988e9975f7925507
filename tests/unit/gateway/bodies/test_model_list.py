"""The list of models that clients read, and one model of it."""

import json
from typing import Any

import pytest
from tests.policies import make_policy

from routewright.errors import UnknownModelError
from routewright.gateway.bodies.failures import failure
from routewright.gateway.bodies.model_list import models_answer

MODELS = {"small": {"endpoints": "http://a"}, "qwen/7b": {"endpoints": "http://b"}}


def asked(name: str) -> tuple[int, Any]:
    policy = make_policy(models=MODELS)
    answer = models_answer(policy, "GET", f"/v1/models/{name}")
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("name", ["auto", "small", "qwen/7b", "qwen%2F7b"])
def test_a_model_is_found_by_its_name_however_its_slash_is_written(name: str) -> None:
    status, model = asked(name)
    assert (status, model["id"]) == (200, name.replace("%2F", "/"))


def test_a_model_that_does_not_exist_is_the_same_error_here_and_in_a_chat() -> None:
    status, body = asked("nobody")
    chat = failure(UnknownModelError(["small"]))
    for found, error in (
        (status, body["error"]),
        (chat.status, json.loads(chat.body)["error"]),
    ):
        assert found == 404
        assert (error["type"], error["param"]) == ("invalid_request_error", "model")
        assert error["code"] == "model_not_found"
