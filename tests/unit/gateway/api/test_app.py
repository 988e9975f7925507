"""Health, information, the admin call, metrics, and the description that cannot drift."""

import itertools
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from tests.api_parts import api, client_of
from tests.gateway_parts import TASKS, classifier, gateway_bundle, make_gateway, run

from routewright.gateway.api import create_metrics_app
from routewright.gateway.api.openapi import OPERATIONS, openapi_document
from routewright.gateway.deploying import ReloadResult

PAGE = Path(__file__).parents[4] / "docs" / "api.md"
EXAMPLES = [
    pytest.param(o.path, body, id=f"{o.name}-{name}")
    for o in OPERATIONS
    for name, body in o.examples.items()
]


def test_readiness_is_the_engines() -> None:
    async def scene() -> None:
        async with api() as it:
            for ready, status in ((False, 503), (True, 200)):
                it.engine.ready = ready
                for path in ("/ready", "/readyz"):
                    response = await it.client.get(path)
                    assert (response.status_code, response.json()["ready"]) == (status, ready)
                for path in ("/health", "/healthz"):
                    assert (await it.client.get(path)).json()["status"] == "healthy"

    run(scene())


def test_information_names_the_bundle_its_tasks_and_thresholds(tmp_path: Path) -> None:
    async def scene() -> None:
        async with api() as it:
            folder = gateway_bundle(tmp_path / "secret-place")
            opened = type(classifier()).open(folder, num_threads=1)
            changed = replace(it.engine.deployment, bundle=folder, classifier=opened)
            it.engine.swap(changed)
            models = (await it.client.get("/info/models")).json()["models"]
            assert [m["name"] for m in models] == [task.name for task in TASKS]
            assert models[0]["type"] == "intent_classification"
            assert models[0]["metadata"]["bundle"] == "tiny"
            assert models[0]["metadata"]["precision"] == "int8"
            response = await it.client.get("/info/classifier")
            about = response.json()
            assert about["bundle"]["name"] == "tiny"
            assert about["categories"][0] == {"name": "math", "threshold": 0.6}
            assert about["pii_types"] == ["PHONE_NUMBER", "US_SSN"]
            assert about["security"]["thresholds"]["medium"] == 0.5
            assert "secret-place" not in response.text
            listed = (await it.client.get("/v1/models")).json()["data"]
            assert [m["id"] for m in listed] == ["auto", "MoM", "small", "large"]

    run(scene())


def test_a_model_is_found_by_its_name_slashes_and_all() -> None:
    policy = {"models": {"qwen/7b": {"endpoints": "http://a"}}, "default_model": "qwen/7b"}

    async def scene() -> None:
        async with api({**policy, "decisions": []}) as it:
            for written in ("qwen/7b", "qwen%2F7b"):
                found = await it.client.get(f"/v1/models/{written}")
                assert found.json()["id"] == "qwen/7b"
            missing = await it.client.get("/v1/models/qwen")
            assert missing.status_code == 404
            assert missing.json()["error"]["code"] == "MODEL_NOT_FOUND"
            assert 'endpoint="models",outcome="done"} 2.0' in it.metrics()

    run(scene())


def test_the_admin_call_needs_its_token_and_tells_what_became_of_it() -> None:
    results = [
        ReloadResult(swapped=("policy",), duration_s=0.1),
        ReloadResult(code="config", error="routewright.yaml: models: name at least one"),
    ]

    async def reload() -> ReloadResult:
        return results.pop(0)

    async def scene() -> None:
        async with api(reload=reload) as it:
            assert (await it.client.post("/admin/reload")).status_code == 404
        async with api(reload=reload, admin_token="sesame") as it:  # noqa: S106
            for given in ("", "Bearer nope", "sesame", "Basic sesame", "Bearer sésame"):
                headers = [(b"authorization", given.encode("latin-1"))]
                response = await it.client.post("/admin/reload", headers=headers)
                assert response.status_code == 401
                assert "sesame" not in response.text
            bearer = {
                "authorization": "bearer sesame"
            }  # schemes are of any case: RFC 9110, 11.1
            done = await it.client.post("/admin/reload", headers=bearer)
            assert (done.status_code, done.json()["swapped"]) == (200, ["policy"])
            failed = await it.client.post("/admin/reload", headers=bearer)
            assert failed.status_code == 409
            assert "models: name at least one" in failed.json()["error"]["message"]
            assert 'endpoint="admin",outcome="refused"} 6.0' in it.metrics()

    run(scene())


def test_every_request_is_counted_and_timed_once() -> None:
    async def scene() -> None:
        async with api() as it:
            response = await it.client.post("/api/v1/classify/pii", json={"text": "a"})
            assert re.fullmatch(r"total;dur=\d+\.\d{3}", response.headers["server-timing"])
            await it.client.post("/api/v1/classify/pii", json={})
            text = (await it.client.get("/metrics")).text
            name = 'routewright_requests_total{door="api",endpoint="classify_pii",outcome='
            assert f'{name}"answered"}} 1.0' in text
            assert f'{name}"refused"}} 1.0' in text
            counted = 'request_seconds_count{door="api",endpoint="classify_pii"} 2.0'
            assert counted in text
            assert 'errors_total{code="request",door="api"} 1.0' in text

    run(scene())


def test_the_metrics_port_has_health_and_metrics_alone() -> None:
    async def scene() -> None:
        engine = make_gateway().engine
        async with client_of(create_metrics_app(engine)) as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            metrics = await client.get("/metrics")
            assert metrics.headers["content-type"].startswith("text/plain; version=")
            assert "routewright_engine_texts_total" in metrics.text
            assert (await client.post("/admin/reload")).status_code == 404
        await engine.close()

    run(scene())


def test_the_description_is_valid_openapi_and_names_every_route() -> None:
    document = openapi_document()
    validate(document)

    async def scene() -> None:
        async with api() as it:
            assert (await it.client.get("/openapi.json")).json() == document
            transport: Any = it.client._transport
            routes = [(r.path.replace(":path", ""), r.methods) for r in transport.app.routes]
            served = {(path, m) for path, methods in routes for m in methods - {"HEAD"}}
            paths = document["paths"].items()
            assert served == {(p, m.upper()) for p, methods in paths for m in methods}

    run(scene())


@pytest.mark.parametrize(("path", "body"), EXAMPLES)
def test_every_example_is_answered_as_described(path: str, body: dict[str, Any]) -> None:
    document = openapi_document()
    described = document["paths"][path]["post"]["responses"]["200"]["content"]
    schema = described["application/json"]["schema"]

    async def scene() -> None:
        async with api() as it:
            response = await it.client.post(path, json=body)
            assert response.status_code == 200, response.text
            whole = {**schema, "components": document["components"]}
            errors = OAS31Validator(whole).iter_errors(response.json())
            assert not [error.message for error in errors]

    run(scene())


def commands(page: str) -> list[httpx.Request]:
    """The requests of the ``curl`` commands of a page."""
    found = []
    for block in re.findall(r"^```\n(curl .*?)^```", page, re.MULTILINE | re.DOTALL):
        words = shlex.split(block, comments=True)
        starts = [i for i, word in enumerate(words) if word == "curl"]
        for start, end in itertools.pairwise([*starts, len(words)]):
            found.append(command(words[start:end]))
    return found


def command(words: list[str]) -> httpx.Request:
    given = dict(itertools.pairwise(words))  # an option, and what follows it
    url = next(w for w in words if w.startswith("localhost:8080"))
    data = given.get("-d")
    name, _, value = given.get("-H", "x-none: ").partition(": ")
    return httpx.Request(
        given.get("-X", "POST" if data else "GET"),
        url.replace("localhost:8080", "http://api"),
        content=data,
        headers={name: value},
    )


def test_every_command_of_the_page_works_and_every_endpoint_has_one() -> None:
    requests = commands(PAGE.read_text(encoding="utf-8"))
    paths = {o.path.replace("{model}", "auto") for o in OPERATIONS}
    assert {r.url.path for r in requests} == paths

    async def reload() -> ReloadResult:
        return ReloadResult()

    async def scene() -> None:
        async with api(reload=reload, admin_token="$ADMIN_TOKEN") as it:  # noqa: S106
            it.engine.ready = True
            for request in requests:
                response = await it.client.send(request)
                assert response.status_code == 200, (str(request.url), response.text)
                if request.url.path != "/metrics":
                    json.loads(response.text)

    run(scene())
