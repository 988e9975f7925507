"""What goes into Envoy's bootstrap, as plain values."""

from dataclasses import dataclass, field
from typing import Literal

SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"

RequestBodyMode = Literal["BUFFERED", "FULL_DUPLEX_STREAMED"]
ResponseBodyMode = Literal["STREAMED", "FULL_DUPLEX_STREAMED", "BUFFERED"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamTls:
    """How the certificate of an upstream is checked."""

    server_name: str | None = None
    """Name in SNI and in the certificate; None takes the endpoint's host."""
    ca_file: str = SYSTEM_CA_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where a server listens."""

    host: str
    """An IP address or a DNS name."""
    port: int
    weight: float = 1.0
    """Share of the traffic relative to the other endpoints of a model; 0 takes it out."""
    tls: UpstreamTls | None = None
    """None speaks plain HTTP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUpstream:
    """The servers of one model."""

    model: str
    """Value of the model header that leads here."""
    endpoints: tuple[Endpoint, ...]
    path_prefix: str = ""
    """What comes before the client's path, such as ``/openai``; the same on all endpoints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvoySettings:
    """What goes into the bootstrap."""

    models: tuple[ModelUpstream, ...]
    default_model: str | None = None
    """Where requests without a model header go; None answers them 503."""
    listen: Endpoint = field(default_factory=lambda: Endpoint(host="0.0.0.0", port=8801))  # noqa: S104
    admin: Endpoint = field(default_factory=lambda: Endpoint(host="127.0.0.1", port=19000))
    ext_proc: Endpoint = field(default_factory=lambda: Endpoint(host="127.0.0.1", port=50051))
    model_header: str = "x-selected-model"
    destination_header: str | None = "x-vsr-destination-endpoint"
    """Header by which the gateway may name ``host:port`` itself; None has no such route."""
    request_body_mode: RequestBodyMode = "BUFFERED"
    """STREAMED is not offered: the route follows from the whole body, and an Envoy that has to
    be asked to buffer leaves a client whose body is over the limit without an answer."""
    response_body_mode: ResponseBodyMode = "STREAMED"
    """BUFFERED refuses answers over `max_body_bytes`, also those that nothing has to see."""
    watch_answers: bool = False
    """Whether the gateway hears of every answer; else only of those that it has to change."""
    max_body_bytes: int = 8 * 1024 * 1024
    """Largest body held in memory; a larger request gets 413."""
    message_timeout_s: float = 30.0
    """How long Envoy waits for one answer of the gateway, in which texts are classified."""
    headers_timeout_s: float = 10.0
    """How long a client may take for the headers of a request."""
    request_timeout_s: float = 335.0
    """How long until a request is on its way to a model: read, and decided about."""
    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 300.0
    """How long a stream may be silent, such as a model before its first token."""
    max_concurrent: int = 10_000
    """Requests, connections and waiting requests allowed at once, for each cluster."""
    failure_mode_allow: bool = False
    """Let requests pass unguarded, to the default model, while the gateway is away."""


def seconds(value: float) -> str:
    """A duration as Envoy reads it."""
    return f"{value:.3f}s"
