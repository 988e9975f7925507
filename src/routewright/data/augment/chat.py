"""One OpenAI-compatible chat endpoint: asks, waits, asks again, says in a line what is wrong.

Knows HTTP and nothing of rows. The key is sent as a header and occurs in no message.

Why aiohttp: docs/decisions/0008.
"""

import asyncio
import json
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from routewright.errors import ConfigError, DataError, MissingExtraError

Messages = Sequence[Mapping[str, str]]

MAX_WAIT_S = 60.0
"""Longest pause between two attempts; a server that asks for more is not waited for."""
_SHOWN_CHARS = 200
_KEY_STATUSES = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_LATER_STATUSES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_URL_STATUSES = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the models are, and how patiently they are asked."""

    base_url: str
    """What comes before ``/chat/completions``; most end in ``/v1``."""
    api_key: str | None = field(default=None, repr=False)
    """Bearer token; None sends none."""
    api_key_env: str | None = None
    """Name of the variable it came from, for messages."""
    temperature: float | None = None
    """Sampling temperature; None leaves it to the server."""
    timeout_s: float = 120.0
    """Longest wait for one answer."""
    max_attempts: int = 6
    """How often a request is sent when the server is busy, fails or breaks off."""
    backoff_s: float = 1.0
    """First pause, doubled at every attempt and shortened at random by up to a half; the
    server's own ``Retry-After`` goes before it."""

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if self.api_key is not None and not _is_sendable(self.api_key):
            raise ConfigError(
                f"--api-key-env {self.api_key_env}: its value is empty or holds white space or "
                "characters beyond ASCII, which no key has; set it anew"
            )
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise ConfigError(f"--temperature {self.temperature:g}: must be between 0 and 2")
        if not self.timeout_s > 0:
            raise ConfigError(f"--timeout {self.timeout_s:g}: must be more than 0 seconds")

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base_url.rstrip("/") + "/chat/completions"


@dataclass(frozen=True)
class ChatAnswer:
    """What a model said."""

    text: str
    """Empty where it gave no text."""
    model: str
    """As the server calls it, which may be a version of the model that was asked for."""
    is_whole: bool
    """False when the server cut it off at its limit of tokens."""
    num_prompt_tokens: int
    num_completion_tokens: int


@dataclass(frozen=True)
class Refusal:
    """The server takes this one request for wrong, as a content filter does."""

    status: int
    message: str
    """The server's own, in one line."""


class ChatClient:
    """A pool of connections to one endpoint; belongs to one event loop."""

    def __init__(self, endpoint: Endpoint) -> None:
        try:
            import aiohttp
        except ImportError as exc:
            raise MissingExtraError("aiohttp", "train") from exc
        self._endpoint = endpoint
        self._aiohttp = aiohttp
        self._session: aiohttp.ClientSession | None = None
        self._was_reached = False
        self.num_requests = 0
        """Sent, with those sent again."""
        self.num_retries = 0
        """Sent again."""

    async def __aenter__(self) -> "ChatClient":
        key = self._endpoint.api_key
        # Not trust_env: it would also take a password from ~/.netrc, in the place of the key.
        self._session = self._aiohttp.ClientSession(
            headers={} if key is None else {"authorization": f"Bearer {key}"},
            cookie_jar=self._aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=self._aiohttp.ClientTimeout(total=None),  # `_send` has its own
        )
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, model: str, messages: Messages) -> ChatAnswer | Refusal:
        """The model's answer, after as many attempts as it takes.

        Raises:
            ConfigError: URL, key or model are wrong.
            DataError: the server did not answer in any attempt.
        """
        body: dict[str, Any] = {"model": model, "messages": list(messages)}
        if self._endpoint.temperature is not None:
            body["temperature"] = self._endpoint.temperature
        for attempt in range(self._endpoint.max_attempts):
            last = attempt == self._endpoint.max_attempts - 1
            problem, wait_s = "", None
            self.num_requests += 1
            self.num_retries += attempt > 0
            try:
                status, headers, content = await self._send(body)
            except (self._aiohttp.ClientError, TimeoutError, OSError) as exc:
                problem = self._connection_problem(exc)
            else:
                self._was_reached = True
                if not _is_passing(status):
                    return self._read(status, content, model)
                problem = f"{status}: {self._message_of(content)}"
                wait_s = _asked_wait_s(headers)
            if last or (wait_s is not None and wait_s > MAX_WAIT_S):
                raise self._given_up(problem, attempt + 1, wait_s)
            await asyncio.sleep(self._pause_s(attempt) if wait_s is None else wait_s)
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, body: dict[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "used in its own `async with` block"
        url = self._endpoint.url
        async with (
            asyncio.timeout(self._endpoint.timeout_s),
            # A redirect would take the key to another server.
            self._session.post(
                url, json=body, allow_redirects=False, proxy=_proxy_of(url)
            ) as response,
        ):
            return response.status, response.headers, await response.read()

    def _connection_problem(self, exc: Exception) -> str:
        """What went wrong below HTTP; before any answer came it is the URL that is wrong."""
        timed_out = isinstance(exc, TimeoutError)
        problem = f"no answer within {self._endpoint.timeout_s:g} s" if timed_out else ""
        problem = problem or _one_line(str(exc) or type(exc).__name__)
        wrong = self._aiohttp.ClientConnectorError, self._aiohttp.InvalidURL
        if not self._was_reached and isinstance(exc, wrong):
            raise ConfigError(
                f"--base-url {self._endpoint.base_url}: no server can be reached there "
                f"({problem}); check the address"
            ) from exc
        return problem

    def _pause_s(self, attempt: int) -> float:
        full_s = min(self._endpoint.backoff_s * 2.0**attempt, MAX_WAIT_S)
        return full_s * random.uniform(0.5, 1)  # noqa: S311 - spreads load, no secret

    def _given_up(self, problem: str, num_attempts: int, wait_s: float | None) -> DataError:
        times = "time" if num_attempts == 1 else "times"
        asked = f" and asks to wait {wait_s:.0f} s" if wait_s else ""
        return DataError(
            f"{self._endpoint.url}: failed {num_attempts} {times}{asked}, last with {problem}; "
            "what came before is kept: run the same command again later to go on"
        )

    def _read(self, status: int, content: bytes, model: str) -> ChatAnswer | Refusal:
        if status == HTTPStatus.OK:
            return self._read_answer(content, model)
        message = self._message_of(content)
        where = f"--base-url {self._endpoint.base_url}"
        if status in _KEY_STATUSES:
            name = self._endpoint.api_key_env
            hint = f"check the key in {name}" if name else "name its variable: --api-key-env"
            raise ConfigError(f"{where}: refuses the key ({status}: {message}); {hint}")
        if status in _URL_STATUSES:
            raise ConfigError(
                f"{where}: {self._endpoint.url} has no model {model} ({status}: {message}); "
                "check --model, and the address, which mostly ends in /v1"
            )
        if status < HTTPStatus.BAD_REQUEST:
            raise ConfigError(
                f"{where}: {self._endpoint.url} answers {status} and no chat completion; "
                "give the address it leads to"
            )
        return Refusal(status, message)

    def _read_answer(self, content: bytes, model: str) -> ChatAnswer:
        body = _json_object(content)
        try:
            choice = body["choices"][0]
            text = choice["message"].get("content")
        except (KeyError, IndexError, TypeError, AttributeError) as exc:
            raise ConfigError(
                f"--base-url {self._endpoint.base_url}: {self._endpoint.url} answers with "
                "something else than a chat completion; the address mostly ends in /v1"
            ) from exc
        usage = body.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        return ChatAnswer(
            text if isinstance(text, str) else "",
            str(body.get("model") or model),
            choice.get("finish_reason") != "length",
            _count(counts, "prompt_tokens"),
            _count(counts, "completion_tokens"),
        )

    def _message_of(self, content: bytes) -> str:
        """The server's own words without the key, which some repeat."""
        body = _json_object(content)
        error = body.get("error", body)
        said = error.get("message") if isinstance(error, dict) else error
        text = said if isinstance(said, str) else content.decode("utf-8", "replace")
        if self._endpoint.api_key is not None:
            text = text.replace(self._endpoint.api_key, "***")
        return _one_line(text) or "no reason given"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises where it is no number
    except ValueError:
        is_good = False
    else:
        if "@" in parts.netloc:
            raise ConfigError(
                "--base-url: holds a name or password; give the key with --api-key-env"
            )
        is_good = is_good and not parts.query and not parts.fragment
    if not is_good or any(character.isspace() for character in url):
        raise ConfigError(
            f"--base-url {url}: is no address of a server; give one as https://HOST/v1"
        )


def _is_sendable(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def _is_passing(status: int) -> bool:
    """Whether the same request may be answered well a little later."""
    return status in _LATER_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for the address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks for, as a number or as a date."""
    value = headers.get("retry-after", "")
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return None if math.isnan(wait_s) else max(wait_s, 0.0)


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) else 0


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else line[:_SHOWN_CHARS] + "..."
