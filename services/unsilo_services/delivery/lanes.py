"""Runs commands: in order for each object, a few at a time for each connection, none held up by another connection's.

Lives in an event loop of its own, on a thread beside the Kafka loop's.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type, stop_after_delay
from tenacity.wait import wait_random_exponential
from unsilo_connectors.actions import Action, Command, Postponed, Refused, Target
from unsilo_connectors.contract import Connection, Connector

from ..metrics import DELIVERY_ATTEMPTS, DELIVERY_SECONDS
from .calls import carry_out, client
from .outcomes import Done, Failed, Outcome

log = logging.getLogger(__name__)

CONCURRENT_CALLS = 8  # for each connection
GIVEN_UP_AFTER = timedelta(hours=24)
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One command, ready to be carried out."""

    connection: Connection[Any]
    connector: Connector[Any, Any]
    action: Action
    arguments: Any
    key: str
    target: Target | None
    aggregate: bytes
    repeated: bool
    trace: Mapping[str, str]


@dataclass(slots=True)
class _Lane:
    """One connection: how many calls at once, and until when it is to be quiet."""

    slots: asyncio.Semaphore
    quiet_until: float = 0.0
    last: dict[bytes, "asyncio.Task[None]"] = field(default_factory=dict)


class Lanes:
    """Takes jobs from any thread and tells their outcome from its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._lanes: dict[str, _Lane] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._http: httpx.AsyncClient | None = None

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; calls that are still out are abandoned."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def submit(self, job: Job, tell: Callable[[Outcome], None]) -> "Future[asyncio.Task[None]]":
        """Carries a job out behind those of the same object. `tell` is called from the lanes' thread, at most once."""
        return self._across(self._enqueue(job, tell))

    def drain(self, tasks: "list[Future[asyncio.Task[None]]]", seconds: float) -> None:
        """Waits for the calls that are out, and cancels what only waits for its turn."""
        self._across(self._drain(tasks, seconds)).result(seconds + 5)

    def ask(self, steps: Any) -> "Future[Any]":
        """Makes calls outside any lane, once: what they return, or Refused or Postponed."""
        return self._across(self._ask(steps))

    async def _ask(self, steps: Any) -> Any:
        answer, _ = await carry_out(self._client(), steps, {})
        return answer

    async def _enqueue(self, job: Job, tell: Callable[[Outcome], None]) -> "asyncio.Task[None]":
        lane = self._lanes.setdefault(job.connection.id, _Lane(asyncio.Semaphore(CONCURRENT_CALLS)))
        task = asyncio.create_task(self._run(lane, lane.last.get(job.aggregate), job, tell))
        lane.last[job.aggregate] = task
        task.add_done_callback(lambda done: self._forget(lane, job.aggregate, done))
        return task

    def _forget(self, lane: _Lane, aggregate: bytes, task: "asyncio.Task[None]") -> None:
        if lane.last.get(aggregate) is task:
            del lane.last[aggregate]

    async def _run(
        self, lane: _Lane, before: "asyncio.Task[None] | None", job: Job, tell: Callable[[Outcome], None]
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        tell(await self._until_settled(lane, job))

    async def _until_settled(self, lane: _Lane, job: Job) -> Outcome:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Postponed), wait=_pause, stop=stop_after_delay(GIVEN_UP_AFTER)
            ):
                with attempt:
                    repeated = job.repeated or attempt.retry_state.attempt_number > 1
                    return await self._attempt(lane, job, repeated)
        except Refused as error:
            return Failed("delivery_rejected", f"{job.connector.name} {error}")
        except RetryError as error:
            return Failed("delivery_timeout", f"{job.connector.name} {error.last_attempt.exception()}")
        except Exception as error:  # a fault of the connector must not stop other commands
            log.exception("the action of a command of %s failed", job.connection.id)
            return Failed("delivery_rejected", f"{job.connector.name}: {type(error).__name__} in its action")
        raise AssertionError("an attempt ends in one of these ways")

    async def _attempt(self, lane: _Lane, job: Job, repeated: bool) -> Outcome:
        while (quiet := lane.quiet_until - time.monotonic()) > 0:
            await asyncio.sleep(quiet)
        async with lane.slots:
            me = asyncio.current_task()
            assert me is not None  # noqa: S101  # this runs in one
            self._calling.add(me)
            started = time.perf_counter()
            command = Command(
                job.connection, job.key, job.arguments, datetime.now(UTC), target=job.target, repeated=repeated
            )
            try:
                written, last = await carry_out(self._client(), job.action.perform(command), job.trace)
            except (Refused, Postponed) as error:
                if isinstance(error, Postponed) and error.whole_connection:
                    self._quiet(lane, error.retry_after or timedelta(seconds=1))
                DELIVERY_ATTEMPTS.labels(job.connection.id, type(error).__name__.lower()).inc()
                raise
            finally:
                self._calling.discard(me)
            DELIVERY_ATTEMPTS.labels(job.connection.id, "done").inc()
            DELIVERY_SECONDS.labels(job.connection.id).observe(time.perf_counter() - started)
            pause = None if last is None else job.connector.pause(last)
            if pause is not None:
                self._quiet(lane, pause)
            return Done(written)

    async def _drain(self, tasks: "list[Future[asyncio.Task[None]]]", seconds: float) -> None:
        mine = [task.result() for task in tasks if task.done() and not task.cancelled()]
        calling = [task for task in mine if task in self._calling]
        for task in mine:
            if task not in self._calling:
                task.cancel()
        if calling:
            await asyncio.wait(calling, timeout=seconds)

    def _quiet(self, lane: _Lane, pause: timedelta) -> None:
        lane.quiet_until = max(lane.quiet_until, time.monotonic() + pause.total_seconds())

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = client()
        return self._http

    def _across(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


_backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)


def _pause(state: RetryCallState) -> float:
    """Exponential with jitter, and never shorter than the remote asked for."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, Postponed) else None
    return max(_backoff(state), asked.total_seconds() if asked else 0.0)
