"""A small HTTP/1.1 client: little time of its own, so that what is timed is the other side."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_s: float
    """Until the first byte of the body."""
    chunk_times_s: tuple[float, ...] = ()


def request_bytes(path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    raw = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: gateway", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(raw)}", "", ""]
    return "\r\n".join(lines).encode() + raw


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ")[1]), {n.strip().lower(): v.strip() for n, _, v in pairs}


class Connection:
    """One kept connection with a blocking socket; one request at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 16)

    def ask(self, raw: bytes) -> Answer:
        start = time.perf_counter()
        self.socket.sendall(raw)
        head = b"".join(iter(self._line, b""))
        status, headers = parse_head(head)
        first = 0.0
        pieces, times = [], []
        for piece in self._pieces(headers):
            now = time.perf_counter() - start
            first = first or now
            pieces.append(piece)
            times.append(now)
        return Answer(status, headers, b"".join(pieces), first, tuple(times))

    def _line(self) -> bytes:
        line = self.file.readline()
        return b"" if line == b"\r\n" else line

    def _pieces(self, headers: Mapping[str, str]) -> Iterator[bytes]:
        if "content-length" in headers:
            yield self.file.read(int(headers["content-length"]))
            return
        while (size := int(self.file.readline().split(b";")[0], 16)) > 0:
            piece = self.file.read(size)
            self.file.read(2)
            yield piece
        self.file.readline()


async def ask_open(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes
) -> Answer:
    """The same over asyncio, for many connections at once."""
    start = time.perf_counter()
    writer.write(raw)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    status, headers = parse_head(head[:-4])
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
        return Answer(status, headers, body, time.perf_counter() - start)
    pieces: list[bytes] = []
    first = 0.0
    while (size := int((await reader.readline()).split(b";")[0], 16)) > 0:
        pieces.append(await reader.readexactly(size))
        first = first or time.perf_counter() - start
        await reader.readexactly(2)
    await reader.readline()
    return Answer(status, headers, b"".join(pieces), first)
