"""The ``gateway`` section of ``routewright.yaml``: doors, limits, upstream behaviour, reload.

Knows the form alone. A door whose section is null is closed; what is left out has the defaults
below. Ports are those that users of the original router know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from routewright.config import STRICT, parse
from routewright.runtime.batcher import BatcherConfig
from routewright.runtime.machine import MOST_THREADS

_VARIABLE = re.compile(r"^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$")


_LARGEST_BODY = 512 * 1024 * 1024
"""A message from Envoy has to fit the window of an HTTP/2 stream."""
_SHORTEST_WINDOW = 500
"""With fewer requests chance alone comes near what is taken for drift."""
_LARGEST_CELL = 32_000
"""Characters; a spreadsheet cuts off what is beyond 32,767."""
ReviewReason = Literal["abstained", "blocked", "would_block", "near_threshold"]


@dataclass(frozen=True, kw_only=True)
class Listen:
    """Where a door listens."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free port."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be in 0..65535, got {self.port}")


@dataclass(frozen=True, kw_only=True)
class Clients:
    """How slow a client may be; without a limit a few of them could hold every connection."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    headers_timeout_s: float = 10.0
    """From a request's first byte to the end of its headers."""
    body_timeout_s: float = 300.0
    """For all of a request's body."""
    idle_timeout_s: float = 30.0
    """For silence in the middle of a body, or for an answer that is not taken."""

    def __post_init__(self) -> None:
        if min(self.headers_timeout_s, self.body_timeout_s, self.idle_timeout_s) <= 0:
            raise ValueError("timeouts must be positive")


@dataclass(frozen=True, kw_only=True)
class ExtProcConnections:
    """Who may hold on to the port that Envoy asks.

    An Envoy has one connection for each of its threads, for as long as it runs.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_connections: int = 1000
    """Health checks counted in. On 16 more only the health may be asked; what is beyond is
    closed at once."""
    ping_after_s: float = 30.0
    """Silence after which a peer is asked for a sign of life (HTTP/2 PING)."""
    ping_timeout_s: float = 10.0
    """How long it may take for that, and a new one for its first word, before it is cut off."""

    def __post_init__(self) -> None:
        if self.max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, got {self.max_connections}")
        if min(self.ping_after_s, self.ping_timeout_s) <= 0:
            raise ValueError("ping_after_s and ping_timeout_s must be positive")


@dataclass(frozen=True, kw_only=True)
class HttpUpstream:
    """How the standalone door talks to the servers of the models."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 300.0
    """How long an upstream may be silent, such as a model before its first token."""
    max_attempts: int = 3
    """Tries of a request in all, over the endpoints of its model and the models standing by."""
    retry_statuses: tuple[int, ...] = (429, 503)
    """Answers after which another endpoint is tried, as long as nothing reached the client. By
    these two a server says that it has not taken the request; 502 and 504 come from a proxy
    whose model has the prompt already, and may be at work on it."""
    max_connections: int = 1000
    eject_s: float = 5.0
    """How long an endpoint that failed is tried last."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or self.max_connections < 1:
            raise ValueError("max_attempts and max_connections must be at least 1")
        if min(self.connect_timeout_s, self.idle_timeout_s) <= 0 or self.eject_s < 0:
            raise ValueError("timeouts must be positive")


@dataclass(frozen=True, kw_only=True)
class Envoy:
    """What ``routewright envoy-config`` writes about Envoy itself."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    listen: Listen = field(default_factory=lambda: Listen(host="0.0.0.0", port=8801))  # noqa: S104
    admin: Listen = field(default_factory=lambda: Listen(port=19000))
    ext_proc: Listen | None = None
    """Where Envoy finds the gateway; None is the address that `ext_proc` listens on."""
    request_body_mode: Literal["BUFFERED", "FULL_DUPLEX_STREAMED"] = "BUFFERED"
    response_body_mode: Literal["STREAMED", "FULL_DUPLEX_STREAMED", "BUFFERED"] = "STREAMED"
    watch_answers: bool = False
    """Whether the gateway hears of every answer: its status, and how long it took. Else only of
    those that it changes or has to remember; the others come half a millisecond earlier."""
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """Certificates that those of the models' servers are checked against."""


@dataclass(frozen=True, kw_only=True)
class Reload:
    """When a running gateway takes a new policy or bundle; SIGHUP always does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    watch_s: float | None = 5.0
    """Seconds between looks at the policy file and the bundle's manifest; null never looks."""
    admin_token: str | None = None
    """``${NAME}`` of the variable with the bearer token of ``POST /admin/reload``; without one
    there is no such call."""

    def __post_init__(self) -> None:
        if self.watch_s is not None and self.watch_s <= 0:
            raise ValueError(f"watch_s must be positive, got {self.watch_s}")
        if self.admin_token is not None and not _VARIABLE.match(self.admin_token):
            raise ValueError("write ${NAME} of an environment variable, never the token itself")

    @property
    def token_variable(self) -> str | None:
        """Name of the environment variable that holds the token."""
        match = _VARIABLE.match(self.admin_token or "")
        return match[1] if match else None


@dataclass(frozen=True, kw_only=True)
class Review:
    """Which texts are kept, with personal data taken out, for a person to label."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    folder: str
    """Beside the policy file unless absolute; made for the gateway's user alone."""
    random: float = 0.0
    """Share of all requests, in [0, 1], that are kept whatever the model says."""
    reasons: tuple[ReviewReason, ...] = (
        "abstained", "blocked", "would_block", "near_threshold"
    )  # fmt: skip
    """Why else a text is kept: a task that the policy asks was below its threshold; the
    jailbreak guard blocked, or would have; its score is near its threshold."""
    max_characters: int = 4000
    """Longer texts are not kept."""
    max_rows: int = 200
    """A day and task, and as many again drawn at random; each hour opens its share of them."""
    keep_days: int = 30
    """Files of earlier days are deleted."""

    def __post_init__(self) -> None:
        if not self.folder.strip():
            raise ValueError("folder is empty; name one for the rows")
        if "\0" in self.folder:
            raise ValueError("folder has a null character, which no path can have")
        if not 0 <= self.random <= 1:
            raise ValueError(f"random must be in [0, 1], got {self.random}")
        if not self.reasons and not self.random:
            raise ValueError("without reasons and with random: 0 nothing is kept")
        if not 1 <= self.max_characters <= _LARGEST_CELL:
            raise ValueError(
                f"max_characters must be in 1..{_LARGEST_CELL}, got {self.max_characters}"
            )
        if min(self.max_rows, self.keep_days) < 1:
            raise ValueError("max_rows and keep_days must be at least 1")


@dataclass(frozen=True, kw_only=True)
class DriftSettings:
    """How requests are compared with those of the day the bundle was put in place."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    window: int = 5000
    """Requests of the reference, and of the newest ones compared with it."""
    reference: str | None = None
    """File that keeps the reference over a restart, written when that is complete; beside the
    policy file unless absolute. None keeps it in memory."""

    def __post_init__(self) -> None:
        if self.window < _SHORTEST_WINDOW:
            raise ValueError(f"window must be at least {_SHORTEST_WINDOW}, got {self.window}")
        if self.reference is not None and not self.reference.strip():
            raise ValueError("reference is empty; name a file, or null for none")
        if self.reference is not None and "\0" in self.reference:
            raise ValueError("reference has a null character, which no path can have")


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """How the gateway runs; what it decides is the policy's."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    http: Listen | None = field(default_factory=lambda: Listen(port=8000))
    """The standalone OpenAI-compatible gateway."""
    ext_proc: Listen | None = field(default_factory=lambda: Listen(port=50051))
    """The gRPC server that Envoy asks."""
    ext_proc_connections: ExtProcConnections = field(default_factory=ExtProcConnections)
    api: Listen | None = field(default_factory=lambda: Listen(port=8080))
    """The classification API, with health, metrics and the admin call."""
    metrics: Listen | None = field(default_factory=lambda: Listen(port=9190))
    """Health and metrics alone, for a scraper."""
    on_error: Literal["closed", "open"] = "closed"
    """What a failure outside the guards means: a 5xx, or the request goes on to the default
    model if no guard that acts is closed. An overloaded gateway answers 429 in any case."""
    deadline_s: float = 60.0
    """How long the classification of one request may take."""
    max_body_bytes: int = 8 * 1024 * 1024
    max_texts: int = 10_000
    """Texts of one request, and places where parts of a message meet if the PII guard looks at
    them; more are refused with 400."""
    remembered_texts: int = 8192
    """Answers about texts kept by a keyed hash, so that a conversation's earlier messages are
    not read anew in every turn; 0 keeps none. The texts themselves are not kept."""
    unready_s: float = 0.0
    """How long after SIGTERM the doors still take requests, while all of them say that none
    shall be sent here: load balancers need time to notice."""
    drain_s: float = 30.0
    """How long requests may go on after the doors are closed."""
    threads: int | Literal["auto"] = "auto"
    """Of a forward pass; ``auto`` measures at the start what this machine does best."""
    batching: BatcherConfig = field(default_factory=BatcherConfig)
    clients: Clients = field(default_factory=Clients)
    upstream: HttpUpstream = field(default_factory=HttpUpstream)
    envoy: Envoy = field(default_factory=Envoy)
    reload: Reload = field(default_factory=Reload)
    drift: DriftSettings | None = field(default_factory=DriftSettings)
    """None compares nothing."""
    review: Review | None = None
    """None keeps no text of any request."""

    def __post_init__(self) -> None:
        if min(self.deadline_s, self.drain_s) <= 0:
            raise ValueError("deadline_s and drain_s must be positive")
        if self.unready_s < 0:
            raise ValueError(f"unready_s must be at least 0, got {self.unready_s}")
        if min(self.max_body_bytes, self.max_texts) < 1 or self.remembered_texts < 0:
            raise ValueError("max_body_bytes and max_texts must be at least 1")
        if self.max_body_bytes > _LARGEST_BODY:
            raise ValueError(f"max_body_bytes must be at most {_LARGEST_BODY} (512 MiB)")
        if self.threads != "auto" and not 1 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads must be auto or 1 to {MOST_THREADS}, got {self.threads}")


@dataclass(frozen=True, kw_only=True)
class _GatewayFile:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    gateway: GatewaySettings = field(default_factory=GatewaySettings)


def parse_gateway(data: Mapping[str, Any], *, source: str) -> GatewaySettings:
    """The settings in the ``gateway`` section of a policy file; defaults without one.

    Raises:
        ConfigError: the first wrong key, with its dotted path.
    """
    section = data.get("gateway")
    own = {} if section is None else {"gateway": section}
    return parse(_GatewayFile, own, source=source).gateway
