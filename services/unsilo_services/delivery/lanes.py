"""Runs commands: in order for each object, a few at a time for each connection, none held up by another connection's.

Lives in an event loop of its own, on a thread beside the Kafka loop's.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Hashable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tenacity import AsyncRetrying, RetryCallState, RetryError, retry_if_exception_type
from tenacity.wait import wait_random_exponential
from unsilo_connectors.actions import Command, Postponed, Refused

from ..dead_letters import DeadLetter
from ..errors import where
from ..metrics import DELIVERY_ATTEMPTS, DELIVERY_SECONDS
from .calls import carry_out, client
from .delays import Delay, Delays
from .jobs import Job, Order
from .outcomes import Done, Outcome
from .quiet import MOST, Quiet

log = logging.getLogger(__name__)

Prepare = Callable[[Order], Job]
Tell = Callable[[Outcome], None]

CONCURRENT_CALLS = 8  # for each connection
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0
_TURN_SECONDS = 0.5


@dataclass(slots=True)
class _Lane:
    """One connection: what of it waits, how many calls at once, and how long it is to be quiet."""

    delays: Delays
    _http: httpx.AsyncClient | None = None
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT_CALLS))
    quiet: Quiet = field(default_factory=Quiet)
    last: dict[bytes, "asyncio.Task[None]"] = field(default_factory=dict)

    @property
    def http(self) -> httpx.AsyncClient:
        """The connection's client. Postponed where it cannot be made: by a proxy or certificates that do not hold."""
        if self._http is None:
            try:
                self._http = client(CONCURRENT_CALLS)
            except Exception as error:
                raise Postponed(f"is not called, as the hub's HTTP client cannot be made: {where(error)}") from error
        return self._http

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Quiet]:
        """A slot, once the connection is no longer quiet: it may have become so while the slot was waited for.

        With it goes the pause that its answer may ask for.
        """
        while True:
            await self.slots.acquire()
            quiet = self.quiet
            left = quiet.left
            if left <= 0:
                break
            self.slots.release()
            await quiet.rest(left)
        try:
            yield quiet
        finally:
            self.slots.release()

    def start_afresh(self) -> None:
        """What was asked for by a connection that is another now holds up nothing, also where it is asked from now."""
        self.delays.start_afresh()
        self.quiet.call_off()
        self.quiet = Quiet()


class Lanes:
    """Takes orders from any thread and tells their outcome from its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._calling: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self.delays: queue.SimpleQueue[Delay] = queue.SimpleQueue()
        """What was told of commands that wait, the oldest first."""
        self.turned_at = time.monotonic()
        """When the thread last showed that it works: an action that never yields would stop all of them."""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()
        self._loop.call_soon_threadsafe(self._turn)

    def stop(self) -> None:
        """Ends the thread. Calls that are still out are abandoned: drain them first."""
        self._across(self._close()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def submit(self, name: Hashable, order: Order, prepare: Prepare, tell: Tell) -> None:
        """Carries an order out behind those of the same object.

        `prepare` says before each attempt what is to be done then: between two of them may lie a day. Both it and
        `tell` are called from the lanes' thread, the latter at most once.
        """
        self._loop.call_soon_threadsafe(self._enqueue, name, order, prepare, tell)

    def start_afresh(self, connections: Collection[str]) -> None:
        """Tries at once what waits for connections that have changed."""
        self._loop.call_soon_threadsafe(self._start_afresh, connections)

    def drain(self, names: Collection[Hashable], seconds: float) -> None:
        """Cancels the orders that are not calling, and waits for the calls that are out, at most so long."""
        try:
            self._across(self._drain(names, seconds)).result(seconds + 5)
        except TimeoutError:
            log.error("the calls that are out could not be waited for")

    def ask(self, connection: str, steps: Any) -> "Future[Any]":
        """Makes calls outside the order of commands, once: what they return, or Refused or Postponed."""
        return self._across(self._ask(connection, steps))

    def _turn(self) -> None:
        self.turned_at = time.monotonic()
        self._loop.call_later(_TURN_SECONDS, self._turn)

    def _start_afresh(self, connections: Collection[str]) -> None:
        for name in connections:
            if (lane := self._lanes.get(name)) is not None:
                lane.start_afresh()

    def _enqueue(self, name: Hashable, order: Order, prepare: Prepare, tell: Tell) -> None:
        lane = self._lane(order.connection)
        task = self._loop.create_task(self._run(lane, lane.last.get(order.aggregate), order, prepare, tell))
        lane.last[order.aggregate] = self._tasks[name] = task

        def forget(done: "asyncio.Task[None]") -> None:
            self._ending.discard(done)
            lane.delays.ended(order.envelope.id, False)  # it was cancelled, if it waits still
            if self._tasks.get(name) is done:
                del self._tasks[name]
            if lane.last.get(order.aggregate) is done:
                del lane.last[order.aggregate]

        task.add_done_callback(forget)

    async def _run(
        self, lane: _Lane, before: "asyncio.Task[None] | None", order: Order, prepare: Prepare, tell: Tell
    ) -> None:
        until = order.given_up_at(datetime.now(UTC))
        if order.again:
            lane.delays.inherited(order.envelope.id)
        if before is not None:
            await asyncio.wait([before])
        outcome = await self._until_settled(lane, order, prepare, until)
        lane.delays.ended(order.envelope.id, isinstance(outcome, Done))
        tell(outcome)

    async def _until_settled(self, lane: _Lane, order: Order, prepare: Prepare, until: datetime) -> Outcome:
        quiet = lane.quiet
        attempts = 0
        first_at: datetime | None = None

        def postponed(state: RetryCallState) -> None:
            nonlocal first_at
            first_at = first_at or datetime.now(UTC)
            lane.delays.postponed(order.envelope.id, str(_fault(state)))

        try:
            async for attempt in AsyncRetrying(
                sleep=lambda seconds: quiet.rest(seconds),  # that of the attempt before, so that no change is missed
                retry=retry_if_exception_type(Postponed),
                before_sleep=postponed,
                wait=_pause,
                stop=lambda state: datetime.now(UTC) >= until,
            ):
                attempts = attempt.retry_state.attempt_number
                with attempt:
                    repeated = order.repeated or attempts > 1
                    async with lane.turn() as quiet, self._called():
                        return await self._attempt(lane, quiet, prepare(order), repeated)
        except DeadLetter as letter:
            letter.attempts, letter.first_at = attempts, first_at
            return letter
        except RetryError as error:
            return DeadLetter("delivery_timeout", str(error.last_attempt.exception()), "call", attempts, first_at)
        except Exception as error:  # a fault of the connector must not stop other commands
            log.error("the action of a command of %s failed: %s", order.connection, where(error))
            return DeadLetter("delivery_rejected", f"the action failed: {where(error)}", "call", attempts, first_at)
        raise AssertionError("an attempt ends in one of these ways")

    async def _attempt(self, lane: _Lane, quiet: Quiet, job: Job, repeated: bool) -> Done:
        """Raises Postponed or DeadLetter, which say whose answer it was."""
        system = job.connector.name
        started = time.perf_counter()
        command = Command(job.connection, job.key, job.arguments, datetime.now(UTC), job.issued, job.target, repeated)
        outcome = "refused"
        try:
            written, last = await carry_out(lane.http, job.action.perform(command), job.trace)
            outcome = "done"
        except Postponed as error:
            outcome = "postponed"
            if error.whole_connection:
                quiet.ask(error.retry_after or timedelta(seconds=1))
            raise Postponed(f"{system} {error}", error.retry_after) from None
        except Refused as error:
            raise DeadLetter("delivery_rejected", f"{system} {error}", "call") from None
        finally:
            DELIVERY_ATTEMPTS.labels(job.connection.id, outcome).inc()
        DELIVERY_SECONDS.labels(job.connection.id).observe(time.perf_counter() - started)
        pause = None if last is None else job.connector.pause(last)
        if pause is not None:
            if quiet.left <= 0:
                log.info("commands for %s wait: %s has no more calls left for now", job.connection.id, system)
            quiet.ask(pause)
        return Done(system, written)

    @asynccontextmanager
    async def _called(self) -> AsyncIterator[None]:
        """While a call is out, its task is not cancelled. Where the task is to end, this attempt is its last."""
        me = asyncio.current_task()
        assert me is not None  # noqa: S101  # this runs in one
        self._calling.add(me)
        try:
            yield
        except Postponed:
            if me in self._ending:
                raise asyncio.CancelledError from None
            raise
        finally:
            self._calling.discard(me)

    async def _drain(self, names: Collection[Hashable], seconds: float) -> None:
        mine = [self._tasks[name] for name in names if name in self._tasks]
        calling = [task for task in mine if task in self._calling]
        self._ending.update(calling)
        for task in mine:
            if task not in self._calling:
                task.cancel()
        if calling:
            await asyncio.wait(calling, timeout=seconds)
        for task in calling:
            task.cancel()  # another has the command now

    async def _ask(self, connection: str, steps: Any) -> Any:
        answer, _ = await carry_out(self._lane(connection).http, steps, {})
        return answer

    async def _close(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for lane in self._lanes.values():
            await lane.close()
        await asyncio.sleep(0)  # lets what was cancelled end

    def _lane(self, connection: str) -> _Lane:
        found = self._lanes.get(connection)
        if found is None:
            found = self._lanes[connection] = _Lane(Delays(connection, self.delays))
        return found

    def _across(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


_backoff = wait_random_exponential(multiplier=_FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS)


def _pause(state: RetryCallState) -> float:
    """Exponential with jitter, and not shorter than the remote asked for, within reason."""
    error = _fault(state)
    asked = error.retry_after if isinstance(error, Postponed) else None
    return max(_backoff(state), min(asked, MOST).total_seconds() if asked else 0.0)


def _fault(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
