"""What happens to one request, from its first byte to its answer."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from unsilo_connectors.contract import UntrustedWebhook, WebhookRequest
from unsilo_schemas.topics import Topics

from ..audit import REJECTED, audit_record
from ..config_topic import ConfigFollower
from ..configuration import Configuration
from ..metrics import REQUEST_SECONDS, REQUESTS
from .answers import (
    BROKEN_HTTP,
    GONE,
    HANDSHAKE,
    HEAD_TOO_LARGE,
    STORED,
    TOO_FAST,
    TOO_LARGE,
    TOO_SLOW,
    UNAVAILABLE,
    UNKNOWN,
    UNTRUSTED,
    WRONG_TYPE,
    Problem,
)
from .bodies import BodyBroken, BodyTooLarge, CodingUnknown, NoRoom, Room, decoded, read_body
from .doors import Door, doors, handshake, records
from .http import HEAD_BYTES
from .limits import Limits
from .store import NotStored, Store

log = logging.getLogger(__name__)

_SHARE_OF_DEADLINE = 0.8  # the rest is for the way there and back
_READING_SECONDS = 8.0
_DOORS_SECONDS = 15.0  # so long a secret that was put in its place, or taken away, may go unnoticed
_DISTRUST_SECONDS = 0.05  # more than it takes to check any proof


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as the web framework hands it over."""

    connection: str  # as called: not to be trusted, not to be shown
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]
    address: str
    head_bytes: int


class SenderGone(Exception):
    """The sender hung up before its request was complete. Nothing of it is stored."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a delivery that is stored, or to a handshake."""

    status: int
    body: bytes
    content_type: str | None


class Reception:
    """Takes requests in. Lives in the event loop's thread."""

    def __init__(self, follower: ConfigFollower, store: Store, topics: Topics) -> None:
        self.store = store
        self._follower = follower
        self._topics = topics
        self._limits = Limits()
        self._room = Room()
        self._configuration: Configuration | None = None
        self._doors: Mapping[str, Door] = {}
        self._doors_at = 0.0
        self._reading_seconds = _READING_SECONDS

    async def receive(self, arrival: Arrival) -> Accepted | Problem:
        """Answers one request; every way out is counted."""
        started = time.perf_counter()
        door = self._door(arrival.connection)
        name = UNKNOWN if door is None else door.section.id
        try:
            with self._room.share(arrival.address) as take:
                answer, outcome, read_at = await self._answer(door, arrival, take)
            if answer is UNTRUSTED or answer is TOO_FAST:
                # At a time that does not depend on how much of a proof there was to check, or it would tell which
                # connections there are. The body is let go of meanwhile.
                await asyncio.sleep(read_at + _DISTRUST_SECONDS - asyncio.get_running_loop().time())
        except SenderGone:
            answer, outcome = BROKEN_HTTP, GONE  # nobody is left to read it
        except NoRoom:
            answer, outcome = UNAVAILABLE, UNAVAILABLE.name
        except Exception:
            log.exception("connection %s: a request could not be handled", name)
            answer, outcome = UNAVAILABLE, UNAVAILABLE.name
        REQUESTS.labels(name, outcome).inc()
        if outcome == STORED:
            REQUEST_SECONDS.labels(name).observe(time.perf_counter() - started)
        return answer

    async def _answer(
        self, door: Door | None, arrival: Arrival, take: Callable[[int], None]
    ) -> tuple[Accepted | Problem, str, float]:
        """The answer, its outcome, and when the body was read, on the loop's clock."""
        received_at = datetime.now(UTC)
        loop = asyncio.get_running_loop()
        started = loop.time()
        body = await self._read(door, arrival, take, received_at)
        read_at = loop.time()
        answer, outcome = (
            body if isinstance(body, tuple) else await self._judge(door, arrival, body, received_at, started)
        )
        return answer, outcome, read_at

    async def _read(
        self, door: Door | None, arrival: Arrival, take: Callable[[int], None], received_at: datetime
    ) -> bytes | tuple[Problem, str]:
        """The body, its coding undone, or why it cannot be had."""
        if arrival.head_bytes > HEAD_BYTES:
            return self._refuse(door, arrival, HEAD_TOO_LARGE, "head_too_large", received_at)
        try:
            async with asyncio.timeout(self._reading_seconds):
                coded = await read_body(arrival.chunks, take)
            # As far for every address, not to the connection's own limit: or it would tell which there are.
            return decoded(coded, arrival.headers.get("content-encoding"))
        except TimeoutError:
            return self._refuse(door, arrival, TOO_SLOW, "too_slow", received_at)
        except BodyTooLarge:
            return self._refuse(door, arrival, TOO_LARGE, "too_large", received_at)
        except BodyBroken:
            return self._refuse(door, arrival, BROKEN_HTTP, "coding_broken", received_at)
        except CodingUnknown:
            return self._refuse(door, arrival, WRONG_TYPE, "coding_unknown", received_at)

    async def _judge(
        self, door: Door | None, arrival: Arrival, body: bytes, received_at: datetime, started: float
    ) -> tuple[Accepted | Problem, str]:
        if door is None or door.connection is None:
            reason = "connection_unknown" if door is None else "secret_missing"
            return self._refuse(door, arrival, UNTRUSTED, reason, received_at)
        url = f"{self._follower.current.hub.public_url}/in/{door.section.id}"
        request = WebhookRequest(door.connection, arrival.headers, body, received_at, url)
        try:
            door.connector.verify(request)
        except UntrustedWebhook as untrusted:
            return self._refuse(door, arrival, UNTRUSTED, untrusted.reason, received_at, untrusted.skew_seconds)
        except Exception:
            log.exception("connection %s: its connector failed on a request that proves nothing", door.section.id)
            return self._refuse(door, arrival, UNTRUSTED, "connector_failed", received_at)
        try:
            async with asyncio.timeout_at(started + _seconds_of(door)):
                return await self._take(door, request)
        except TimeoutError:
            return UNAVAILABLE, UNAVAILABLE.name

    async def _take(self, door: Door, request: WebhookRequest[object]) -> tuple[Accepted | Problem, str]:  # type: ignore[type-var]  # any connector's settings
        """A request that is known to be from whom it says."""
        if not self._limits.take(door.section.id, door.section.rate_per_minute):
            return self._evidence(door, TOO_FAST, "too_fast", request)
        if len(request.body) > door.max_body_bytes:
            return self._evidence(door, TOO_LARGE, "too_large", request)
        if not door.takes(request.headers.get("content-type")):
            return self._evidence(door, WRONG_TYPE, "wrong_type", request)
        greeting = handshake(door, request)
        if greeting is not None:
            return Accepted(200, greeting.body, greeting.content_type), HANDSHAKE
        try:
            await self.store.store(records(door, request), request.received_at)
        except NotStored as error:
            log.warning("connection %s: a delivery could not be stored: %s", door.section.id, error)
            return UNAVAILABLE, UNAVAILABLE.name
        return Accepted(202, b"", None), STORED

    def _refuse(
        self,
        door: Door | None,
        arrival: Arrival,
        problem: Problem,
        reason: str,
        at: datetime,
        skew_seconds: float | None = None,
    ) -> tuple[Problem, str]:
        """Refuses a request of unproven origin; past its address's limit without evidence, lest it be flooded."""
        if not self._limits.take_unverified(arrival.address):
            return TOO_FAST, "unverified_too_fast"
        self._note(door, at, {
            "reason": reason, "status": problem.status, "address": arrival.address, "skew_seconds": skew_seconds,
        })  # fmt: skip
        return problem, reason

    def _evidence(
        self,
        door: Door,
        problem: Problem,
        reason: str,
        request: WebhookRequest[object],  # type: ignore[type-var]  # any connector's settings
    ) -> tuple[Problem, str]:
        self._note(door, request.received_at, {
            "reason": reason, "status": problem.status, "bytes": len(request.body),
        })  # fmt: skip
        return problem, problem.name

    def _note(self, door: Door | None, at: datetime, facts: Mapping[str, str | int | float | None]) -> None:
        key, value, headers = audit_record(REJECTED, None if door is None else door.section.id, at, facts)
        self.store.note(self._topics.audit().name, key, value, headers)

    def _door(self, connection: str) -> Door | None:
        configuration = self._follower.current
        now = time.monotonic()
        if configuration is not self._configuration or now - self._doors_at > _DOORS_SECONDS:
            self._doors = doors(configuration, self._topics)
            self._reading_seconds = _reading_seconds(self._doors.values())
            self._configuration = configuration
            self._doors_at = now
        return self._doors.get(connection)


def _seconds_of(door: Door) -> float:
    """How long a request may take from its first byte to its answer."""
    return door.deadline.total_seconds() * _SHARE_OF_DEADLINE


def _reading_seconds(doors: Iterable[Door]) -> float:
    """How long a body may take: no longer than the most impatient sender waits for its answer.

    The same for every address, because a slow body must not tell which of them there are.
    """
    return min([_READING_SECONDS, *map(_seconds_of, doors)])
