"""What every check of `unsilo doctor` works with: the hub, and what was asked of it once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

from ..audit import REJECTED
from ..kafka import recorded_at
from .audit_trail import Noted, delays, noted
from .hub import Hub
from .letters import Letter, Wanted, letters
from .queues import Depth, Gauge, Service, services

Level = Literal["wrong", "look"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or worth a look, and what to do about it."""

    level: Level
    what: str
    remedy: str


class Examination:
    """One hub at one moment. What is asked of it twice is asked once."""

    def __init__(self, hub: Hub, over: timedelta, refused_over: timedelta) -> None:
        self.hub = hub
        self.now = datetime.now(UTC)
        self.since = self.now - over
        self._refused_since = self.now - refused_over
        self._gauge: Gauge | None = None

    def close(self) -> None:
        """Ends the connections."""
        if self._gauge is not None:
            self._gauge.close()

    def measure(self) -> dict[str, Depth]:
        """The queues as they are now, by topic."""
        if self._gauge is None:
            self._gauge = Gauge(self.hub)
        return {depth.topic: depth for depth in self._gauge.depths()}

    @cached_property
    def services(self) -> list[Service]:
        return services(self.hub)

    @cached_property
    def depths(self) -> dict[str, Depth]:
        return self.measure()

    @cached_property
    def letters(self) -> list[Letter]:
        """Those of the time in question that were not put back."""
        return [letter for letter in letters(self.hub, Wanted(since=self.since)) if letter.redriven_at is None]

    @cached_property
    def delays(self) -> dict[str, Noted]:
        return delays(self.hub)

    @cached_property
    def refusals(self) -> list[Noted]:
        return noted(self.hub, self._refused_since, REJECTED)

    @cached_property
    def refused_last(self) -> Mapping[str, list[Noted]]:
        """The refusals of each connection since its last delivery that was taken in; of others there are none."""
        found: defaultdict[str, list[Noted]] = defaultdict(list)
        for note in self.refusals:
            if (name := note.connection or "") in self.hub.configuration.connections:
                found[name].append(note)
        topics = {self.hub.topics.raw(name).name: name for name in found}
        places = self.hub.places(topics)
        ends = self.hub.kafka.end_offsets(places) if places else {}
        for newest in self.hub.at((*place, end - 1) for place, end in ends.items() if end):
            name = topics[str(newest.topic())]
            found[name] = [note for note in found[name] if note.at > recorded_at(newest)]
        return found


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at."""

    title: str
    examine: Callable[[Examination], Iterable[Finding]]
    needs_kafka: bool = True
