"""Signed requests over kept-open connections, as fast as they are answered or at a steady rate."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from deliveries import Delivery
from hub import Hub
from unsilo_services.configuration import connection_of, connector_of, from_environment

_SLICE = 100_000


@dataclass(slots=True)
class Answers:
    """What came back: latencies in seconds of what was stored, and how many answers were anything else."""

    latencies: list[float] = field(default_factory=list)
    others: int = 0
    seconds: float = 0.0


def requests(hub: Hub, deliveries: Iterator[Delivery]) -> Iterator[bytes]:
    """Whole HTTP/1.1 requests, each signed when it is asked for: it is good for five minutes."""
    connections = {
        name: (connector_of(section), connection_of(section, from_environment))
        for name, section in hub.configuration.connections.items()
    }
    for delivery in deliveries:
        connector, connection = connections[delivery.connection]
        headers = {
            "host": "localhost",
            "content-type": delivery.content_type,
            "content-length": str(len(delivery.body)),
            **connector.sign(delivery.body, connection.settings, datetime.now(UTC)),
        }
        head = f"POST /in/{delivery.connection} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        yield head.encode() + b"\r\n" + delivery.body


def flat_out(port: int, waiting: Iterator[bytes], count: int, connections: int) -> Answers:
    """Sends so many, each connection its next request as soon as the last is answered.

    They are prepared a slice at a time, which is not counted: signed all at once, the last would be too old.
    """
    answers = Answers()
    while prepared := list(islice(waiting, min(_SLICE, count))):
        count -= len(prepared)
        asyncio.run(_flat_out(port, prepared, connections, answers))
    return answers


async def _flat_out(port: int, prepared: Sequence[bytes], connections: int, answers: Answers) -> None:
    work = iter(prepared)
    began = time.perf_counter()
    await asyncio.gather(*(_connection(port, work, answers) for _ in range(connections)))
    answers.seconds += time.perf_counter() - began


async def _connection(port: int, work: Iterator[bytes], answers: Answers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in work:
        sent = time.perf_counter()
        writer.write(request)
        await _answer(reader, sent, answers)
    writer.close()


async def _answer(reader: asyncio.StreamReader, sent: float, answers: Answers) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    if length:
        await reader.readexactly(length)
    if head.startswith(b"HTTP/1.1 202"):
        answers.latencies.append(time.perf_counter() - sent)
    else:
        answers.others += 1


async def steady(port: int, waiting: Iterator[bytes], per_second: int, sent_at: list[float], connections: int) -> int:
    """Sends one request after the other at a steady rate, noting when each was due; how many were not stored."""
    answers = Answers()
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    began = time.time() + 0.2
    async with asyncio.TaskGroup() as under_way:
        for number, request in enumerate(waiting):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.time()))
            sent_at[number] = due
            under_way.create_task(_one(free, request, answers))
    return answers.others


async def _one(free: "asyncio.Queue[Any]", request: bytes, answers: Answers) -> None:
    reader, writer = await free.get()
    writer.write(request)
    await _answer(reader, time.perf_counter(), answers)
    free.put_nowait((reader, writer))


def percentile(values: Sequence[float], share: float) -> float:
    """In milliseconds, of latencies in seconds."""
    found = sorted(values)
    return round(found[min(len(found) - 1, int(len(found) * share))] * 1000, 1)
