"""The applications: the classification API with health and admin calls, and metrics alone."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from routewright.gateway.api.answers import (
    check_all,
    check_pii_options,
    check_tasks,
    classify_result,
    combined_result,
    head_of,
    intent_result,
    pii_result,
    route_result,
    security_result,
)
from routewright.gateway.api.batches import (
    Answered,
    answer_text,
    answer_texts,
    batch_result,
    check_batch,
    classify_results,
)
from routewright.gateway.api.endpoint import Serve, endpoint, posted
from routewright.gateway.api.failures import Failure
from routewright.gateway.api.information import Information
from routewright.gateway.api.openapi import OPERATIONS, openapi_document
from routewright.gateway.api.requests import (
    BatchRequest,
    ClassifyRequest,
    CombinedRequest,
    IntentRequest,
    PiiRequest,
    RouteRequest,
    SecurityRequest,
)
from routewright.gateway.api.results import to_json
from routewright.gateway.deploying import ReloadResult
from routewright.gateway.engine import Engine
from routewright.gateway.json_bytes import dump_json
from routewright.gateway.telemetry import CONTENT_TYPE

Reload = Callable[[], Awaitable[ReloadResult]]

_MANY_TEXTS = 64
"""Results of more texts are put together in a thread, for the event loop's sake."""


def create_api(
    engine: Engine, *, reload: Reload | None = None, admin_token: str | None = None
) -> Starlette:
    """The API of port 8080.

    Args:
        engine: answers; belongs to the event loop that runs the application.
        reload: loads and swaps what has changed; says what became of it.
        admin_token: what ``POST /admin/reload`` must bring; without one there is no such call.
    """
    api = _Api(engine)
    about = Information(engine)
    document = dump_json(openapi_document())
    serving: dict[str, Serve] = {
        "classify_intent": posted(engine, IntentRequest, api.intent),
        "classify_pii": posted(engine, PiiRequest, api.pii),
        "classify_security": posted(engine, SecurityRequest, api.security),
        "classify_combined": posted(engine, CombinedRequest, api.combined),
        "classify_batch": posted(engine, BatchRequest, api.batch),
        "classify": posted(engine, ClassifyRequest, api.classify),
        "route": posted(engine, RouteRequest, api.route),
        "health": _told(about.health),
        "healthz": _told(about.health),
        "ready": _ready(about),
        "readyz": _ready(about),
        "info_models": _told(about.classifiers),
        "info_classifier": _told(about.classifier),
        "models": _told(about.models),
        "model": _model(about),
        "metrics": _metrics(engine),
        "openapi": _document(document),
        "admin_reload": _reloading(reload, admin_token),
    }
    return _application(engine, serving)


def create_metrics_app(engine: Engine) -> Starlette:
    """Health and metrics alone, for a port that scrapers reach."""
    about = Information(engine)
    serving: dict[str, Serve] = {
        "healthz": _told(about.health),
        "readyz": _ready(about),
        "metrics": _metrics(engine),
    }
    return _application(engine, serving)


def _application(engine: Engine, serving: Mapping[str, Serve]) -> Starlette:
    routes = [
        Route(
            # Names of models have slashes in them.
            operation.path.replace("}", ":path}"),
            endpoint(engine, operation.counted_as, serving[operation.name]),
            methods=[operation.method],
        )
        for operation in OPERATIONS
        if operation.name in serving
    ]
    paths = ", ".join(o.path for o in OPERATIONS if o.name in serving)

    async def unknown(request: Request, exc: Exception) -> Response:
        async def refuse(_: Request) -> Response:
            assert isinstance(exc, HTTPException), "the only kind that comes here"
            if exc.status_code == 405:
                allowed = (exc.headers or {}).get("Allow", "")
                message = f"this endpoint does not take that method; use {allowed}"
                return Failure("method_not_allowed", message, headers={"allow": allowed})
            return Failure("not_found", f"there is no such endpoint; there are: {paths}")

        return await endpoint(engine, "other", refuse)(request)

    app = Starlette(routes=routes, exception_handlers={HTTPException: unknown})
    app.router.redirect_slashes = False
    return app


class _Api:
    """What the endpoints with a body answer, as JSON."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def intent(self, request: IntentRequest) -> bytes:
        deployment = self._engine.deployment
        head_of(deployment, "domain")
        answer = await answer_text(self._engine, deployment, request.text)
        return to_json(intent_result(answer, request.options))

    async def pii(self, request: PiiRequest) -> bytes:
        deployment = self._engine.deployment
        check_pii_options(deployment, request.options, path="options")
        answer = await answer_text(self._engine, deployment, request.text)
        return to_json(pii_result(answer, request.options))

    async def security(self, request: SecurityRequest) -> bytes:
        deployment = self._engine.deployment
        head_of(deployment, "jailbreak")
        answer = await answer_text(self._engine, deployment, request.text)
        return to_json(security_result(answer, request.options))

    async def combined(self, request: CombinedRequest) -> bytes:
        deployment = self._engine.deployment
        check_all(deployment, request.pii_options, path="pii_options")
        answer = await answer_text(self._engine, deployment, request.text)
        options = (request.intent_options, request.pii_options, request.security_options)
        return to_json(combined_result(answer, *options))

    async def batch(self, request: BatchRequest) -> bytes:
        deployment = self._engine.deployment
        check_batch(deployment, request)
        answered = await answer_texts(self._engine, deployment, request.texts)
        return await _built(answered, lambda: to_json(batch_result(answered, request)))

    async def classify(self, request: ClassifyRequest) -> bytes:
        deployment = self._engine.deployment
        check_tasks(deployment, request.tasks)
        if request.text is not None:
            answer = await answer_text(self._engine, deployment, request.text)
            return dump_json(classify_result(answer, request.tasks))
        assert request.texts is not None, "the request has either"
        answered = await answer_texts(self._engine, deployment, request.texts)
        return await _built(
            answered, lambda: dump_json(classify_results(answered, request.tasks))
        )

    async def route(self, request: RouteRequest) -> bytes:
        answer = await answer_text(self._engine, self._engine.deployment, request.text)
        return dump_json(route_result(answer, request))


async def _built(answered: Answered, build: Callable[[], bytes]) -> bytes:
    """The body; in a thread if there is much of it."""
    if len(answered.answers) <= _MANY_TEXTS:
        return build()
    return await asyncio.to_thread(build)


def _told(tell: Callable[[], Mapping[str, Any]]) -> Serve:
    async def serve(_: Request) -> Response:
        return _json(tell())

    return serve


def _model(about: Information) -> Serve:
    async def serve(request: Request) -> Response:
        found = about.model(request.path_params["model"])
        if found is None:
            return Failure("unknown_model", "there is no such model; see /v1/models")
        return _json(found)

    return serve


def _ready(about: Information) -> Serve:
    async def serve(_: Request) -> Response:
        told = about.readiness()
        return _json(told, status=200 if told["ready"] else 503)

    return serve


def _metrics(engine: Engine) -> Serve:
    async def serve(_: Request) -> Response:
        return Response(engine.telemetry.render(), headers={"content-type": CONTENT_TYPE})

    return serve


def _document(document: bytes) -> Serve:
    async def serve(_: Request) -> Response:
        return Response(document, media_type="application/json")

    return serve


def _reloading(reload: Reload | None, admin_token: str | None) -> Serve:
    async def serve(request: Request) -> Response:
        if reload is None or not admin_token:
            message = "there is no admin call; set gateway.reload.admin_token to have one"
            return Failure("not_found", message)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode("latin-1"), admin_token.encode())
        if scheme.lower() != "bearer" or not known:
            message = "send the admin token in the header Authorization: Bearer TOKEN"
            return Failure("unauthorized", message, headers={"www-authenticate": "Bearer"})
        result = await reload()
        if result.error is not None:
            return Failure("reload", f"kept the old, the new was refused: {result.error}")
        return _json(result.to_dict())

    return serve


def _json(value: Mapping[str, Any], *, status: int = 200) -> Response:
    return Response(dump_json(value), status, media_type="application/json")
