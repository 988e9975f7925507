"""The API's description in OpenAPI 3.1, from the dataclasses that validate and answer.

Every example in it is executed by a test.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from routewright.gateway.api.failures import FAILURES
from routewright.gateway.api.requests import (
    BatchRequest,
    ClassifyRequest,
    CombinedRequest,
    IntentRequest,
    PiiRequest,
    RouteRequest,
    SecurityRequest,
    parse_request,
)
from routewright.gateway.api.results import (
    BatchResult,
    ClassifyResult,
    ClassifyResults,
    CombinedResult,
    ErrorResult,
    IntentResult,
    PiiResult,
    SecurityResult,
)

_DESCRIPTION = """\
All tasks of the bundle answer about a text from one forward pass; long texts are read in
overlapping windows, never cut. Positions count Unicode code points, the end exclusive: in
Python `text[start:end]`, in JavaScript `[...text].slice(start, end)`. Unknown fields are
refused.
"intent" in the endpoints under `/api/v1/classify/` is the domain of a text, as in the original
router; the bundle's own intent task answers at `/api/v1/classify`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """A path of the API with what it takes and gives."""

    name: str
    path: str
    """With names in braces for its parameters."""
    counted_as: str
    """In metrics: one of the closed set ``endpoint``."""
    summary: str
    request: Any = None
    """Type of the body; an operation with one is a POST."""
    result: Any = None
    """Type of the answer; None is any JSON object."""
    method: str = "GET"
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Bodies that are answered with 200."""
    errors: tuple[str, ...] = ()
    """Of `FAILURES`."""
    content_type: str = "application/json"


_ANSWERING = (
    "request", "request_timeout", "too_large", "overloaded", "internal", "serving", "deadline",
)  # fmt: skip
_QUESTION = "How do antitrust laws affect business competition?"
_CONTACT = "Please call me at 555-123-4567"


def _classifying(name: str, path: str, summary: str, **given: Any) -> Operation:
    errors = given.pop("errors", ()) + _ANSWERING
    return Operation(
        name=name, path=path, summary=summary, method="POST", counted_as=name, errors=errors,
        **given,
    )  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    _classifying(
        "classify_intent",
        "/api/v1/classify/intent",
        "The domain of a text and the model that the policy recommends",
        request=IntentRequest,
        result=IntentResult,
        examples={
            "plain": {"text": _QUESTION},
            "options": {
                "text": _QUESTION,
                "options": {"return_probabilities": True, "confidence_threshold": 0.7},
            },
        },
        errors=("task",),
    ),
    _classifying(
        "classify_pii",
        "/api/v1/classify/pii",
        "Personal data in a text",
        request=PiiRequest,
        result=PiiResult,
        examples={
            "plain": {"text": _CONTACT},
            "options": {
                "text": _CONTACT,
                "options": {
                    "entity_types": ["PHONE_NUMBER", "US_SSN"],
                    "return_positions": True,
                    "mask_entities": True,
                },
            },
        },
        errors=("task",),
    ),
    _classifying(
        "classify_security",
        "/api/v1/classify/security",
        "Whether a text is an attack",
        request=SecurityRequest,
        result=SecurityResult,
        examples={
            "plain": {"text": _QUESTION},
            "options": {
                "text": _QUESTION,
                "options": {"sensitivity": "high", "include_reasoning": True},
            },
        },
        errors=("task",),
    ),
    _classifying(
        "classify_combined",
        "/api/v1/classify/combined",
        "Domain, personal data and attack in one forward pass",
        request=CombinedRequest,
        result=CombinedResult,
        examples={
            "options": {
                "text": _CONTACT,
                "intent_options": {"return_probabilities": True},
                "pii_options": {"mask_entities": True},
                "security_options": {"sensitivity": "low"},
            }
        },
        errors=("task",),
    ),
    _classifying(
        "classify_batch",
        "/api/v1/classify/batch",
        "One task, or all, for several texts",
        request=BatchRequest,
        result=BatchResult,
        examples={
            "intent": {"texts": [_QUESTION, _CONTACT]},
            "pii": {
                "texts": [_QUESTION, _CONTACT],
                "task_type": "pii",
                "options": {"return_positions": True},
            },
            "security": {"texts": [_QUESTION], "task_type": "security"},
            "all": {"texts": [_QUESTION, _CONTACT], "task_type": "all"},
        },
        errors=("task",),
    ),
    _classifying(
        "classify",
        "/api/v1/classify",
        "Everything that the bundle's tasks say about one text or several",
        request=ClassifyRequest,
        result=ClassifyResult | ClassifyResults,
        examples={
            "text": {"text": _CONTACT},
            "texts": {"texts": [_QUESTION, _CONTACT], "tasks": ["category", "intent"]},
        },
    ),
    _classifying(
        "route",
        "/api/v1/route",
        "The policy's decision about a text and its reasons, as in `routewright route --json`",
        request=RouteRequest,
        examples={
            "automatic": {"text": _QUESTION},
            "headers": {"text": _QUESTION, "model": "auto", "headers": {"x-tier": "gold"}},
        },
        errors=("unknown_model",),
    ),
    Operation(name="health", path="/health", counted_as="health", summary="Is it alive?"),
    Operation(name="healthz", path="/healthz", counted_as="health", summary="Is it alive?"),
    Operation(
        name="ready",
        path="/ready",
        counted_as="health",
        summary="Does it take requests? 503 with the same body if not",
    ),
    Operation(
        name="readyz",
        path="/readyz",
        counted_as="health",
        summary="Does it take requests? 503 with the same body if not",
    ),
    Operation(
        name="info_models",
        path="/info/models",
        counted_as="info",
        summary="The tasks of the bundle in the original's form",
    ),
    Operation(
        name="info_classifier",
        path="/info/classifier",
        counted_as="info",
        summary="The bundle: tasks, labels, thresholds, calibration; the limits of requests",
    ),
    Operation(
        name="models",
        path="/v1/models",
        counted_as="models",
        summary="Names that a client may write as `model`",
    ),
    Operation(
        name="model",
        path="/v1/models/{model}",
        counted_as="models",
        summary="One of these names, slashes and all",
        errors=("unknown_model",),
    ),
    Operation(
        name="metrics",
        path="/metrics",
        counted_as="info",
        summary="Metrics in Prometheus' text format",
        content_type="text/plain",
    ),
    Operation(name="openapi", path="/openapi.json", counted_as="info", summary="This document"),
    Operation(
        name="admin_reload",
        path="/admin/reload",
        counted_as="admin",
        summary="Load policy and bundle anew and put in place what has changed",
        method="POST",
        errors=("unauthorized", "not_found", "reload"),
    ),
)


@cache
def openapi_document() -> dict[str, Any]:
    """The document as plain values; its examples are valid requests."""
    for operation in OPERATIONS:
        for body in operation.examples.values():
            parse_request(operation.request, body)
    schemas, definitions = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths[operation.path] = {operation.method.lower(): _operation(operation, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "routewright classification API",
            "version": version("routewright"),
            "description": _DESCRIPTION,
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
    }


Schemas = Mapping[tuple[str, str], Mapping[str, Any]]
"""By operation (``error`` for all), then ``request`` or ``result``."""


def _schemas() -> tuple[Schemas, dict[str, Any]]:
    wanted: list[tuple[tuple[str, str], JsonSchemaMode, TypeAdapter[Any]]] = []
    for operation in OPERATIONS:
        if operation.request is not None:
            adapter = TypeAdapter(operation.request)
            wanted.append(((operation.name, "request"), "validation", adapter))
        if operation.result is not None:
            adapter = TypeAdapter(operation.result)
            wanted.append(((operation.name, "result"), "serialization", adapter))
    wanted.append((("error", "result"), "serialization", TypeAdapter(ErrorResult)))
    found, definitions = TypeAdapter.json_schemas(
        [((name, part), mode, adapter) for (name, part), mode, adapter in wanted],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {key: schema for (key, _), schema in found.items()}
    return schemas, definitions["$defs"]


def _operation(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    schema = schemas.get((operation.name, "result"), {"type": "object"})
    if operation.content_type != "application/json":
        schema = {"type": "string"}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": {
                "description": "The answer",
                "content": {operation.content_type: {"schema": schema}},
            },
            **_errors(operation, schemas["error", "result"]),
        },
    }
    if names := re.findall(r"{(\w+)}", operation.path):
        described["parameters"] = [
            {"name": n, "in": "path", "required": True, "schema": {"type": "string"}}
            for n in names
        ]
    if operation.request is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schemas[operation.name, "request"],
                    "examples": {n: {"value": v} for n, v in operation.examples.items()},
                }
            },
        }
    if operation.name == "admin_reload":
        described["security"] = [{"admin": []}]
    return described


def _errors(operation: Operation, schema: Mapping[str, Any]) -> dict[str, Any]:
    by_status: dict[str, list[str]] = {}
    for code in operation.errors:
        status, name = FAILURES[code]
        by_status.setdefault(str(status), []).append(name)
    return {
        status: {
            "description": " or ".join(names),
            "content": {"application/json": {"schema": schema}},
        }
        for status, names in sorted(by_status.items())
    }
