"""What the hub noted down about itself: refusals, suppressions, redrives, delays."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from unsilo_connectors.contract import Refusal

from ..audit import POSTPONED, REDRIVEN, REJECTED, RESUMED
from ..kafka import Message, headers_of, recorded_at
from .hub import Hub, json_value, texts
from .moments import lasting

_DELAYS_TOLD_WITHIN = timedelta(minutes=26)  # a reason that lasts is told every ten, at the next of attempts 15 apart
SKEWED: tuple[Refusal, ...] = ("too_old", "too_far_ahead")


@dataclass(frozen=True, slots=True)
class Noted:
    """One record of the audit topic."""

    at: datetime
    type: str
    connection: str | None
    facts: Mapping[str, Any]

    @property
    def skew(self) -> str:
        """How far a refused request's own time lay from ours; empty where that was not the matter."""
        seconds = self.facts.get("skew_seconds")
        if not isinstance(seconds, int | float):
            return ""
        return f"{lasting(abs(seconds))} {'behind' if seconds > 0 else 'ahead'}"


def noted(hub: Hub, since: datetime | None, *types: str) -> list[Noted]:
    """What was noted of these types since a moment, the oldest first."""
    found: list[Noted] = []

    def take(message: Message) -> None:
        headers = texts(headers_of(message))
        if headers.get("ce_type") in types:
            facts = json_value(message)
            if isinstance(facts, dict):
                found.append(Noted(recorded_at(message), headers["ce_type"], headers.get("ce_connection"), facts))

    hub.read([hub.topics.audit().name], since, take)
    return found


def refusals(hub: Hub, since: datetime, connection: str) -> list[Noted]:
    """The deliveries to a connection that the gateway refused since a moment."""
    return [note for note in noted(hub, since, REJECTED) if note.connection == connection]


def delays(hub: Hub) -> dict[str, Noted]:
    """Why commands wait now, by connection: what delivery noted last, where that is not that none does any more."""
    since = datetime.now(UTC) - _DELAYS_TOLD_WITHIN
    latest = {note.connection or "": note for note in noted(hub, since, POSTPONED, RESUMED)}
    there = hub.configuration.connections
    return {name: note for name, note in latest.items() if name in there and note.type == POSTPONED}


def redriven(hub: Hub, since: datetime | None) -> dict[str, datetime]:
    """The dead letters that were put back since a moment, and when they last were."""
    return {str(note.facts.get("letter")): note.at.astimezone(UTC) for note in noted(hub, since, REDRIVEN)}
