"""Activities and notes are engagements."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from unsilo_schemas.engagement import ENGAGEMENT

from ..contract import MalformedWebhook
from ..payloads import moment
from .change import Change
from .fields import ABSENT, TIMES, Field, State, day, owner
from .layout import Layout

_VERBS = {"create": "recorded", "change": "updated", "delete": "deleted"}
_KINDS = {  # the types that every company starts with; it may add others
    "call": "call",
    "meeting": "meeting",
    "lunch": "meeting",
    "email": "email",
    "task": "task",
    "deadline": "task",
}
_ABOUT = {
    "deal_id": "deal",
    "org_id": "organization",
    "person_id": "person",
    "lead_id": "lead",
    "project_id": "project",
}
_CLOCK = re.compile(r"(\d{1,3}):(\d\d)(?::(\d\d))?")


def _kind(raw: Any, state: State, change: Change) -> Any:
    return None if raw is None else {"category": _KINDS.get(raw) if isinstance(raw, str) else None, "raw": raw}


def _about(value: Any, state: State, change: Change) -> Any:
    return [change.reference(kind, state[key], key) for key, kind in _ABOUT.items() if state.get(key) is not None]


def _participants(people: Any, state: State, change: Change) -> Any:
    if not isinstance(people, list):
        return people
    return [
        change.reference("person", person.get("person_id") if isinstance(person, dict) else None, "participants")
        for person in people
    ]


def _started_at(value: Any, state: State, change: Change) -> Any:
    """`due_time` is in UTC; without one an activity has a day only."""
    if "due_time" not in state:
        return ABSENT
    clock, date = _clock(state["due_time"]), state.get("due_date")
    if not clock or not isinstance(date, str):
        return None
    return f"{date}T{clock if len(clock) > 5 else clock + ':00'}Z"


def _ended_at(value: Any, state: State, change: Change) -> Any:
    start = _started_at(value, state, change)
    if start is ABSENT or "duration" not in state:
        return ABSENT
    clock = _clock(state["duration"])
    if start is None or not clock:
        return None
    match = _CLOCK.fullmatch(clock)
    if match is None:
        raise MalformedWebhook("duration: not hours and minutes")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        end = moment(start) + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise MalformedWebhook("duration: beyond the calendar") from None
    return end.isoformat().replace("+00:00", "Z")


def _clock(value: Any) -> str:
    """`10:30`, `10:30:00` or either wrapped with its zone (webhooks version 2); empty for none."""
    if isinstance(value, dict):
        value = value.get("value")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedWebhook("due_time, duration: not a time of day")
    return value


def _activity_verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield _VERBS[change.action]
    if state.get("done") and (change.action == "create" or before.get("done", state["done"]) != state["done"]):
        yield "completed"


def _note_verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield _VERBS[change.action]


activity = Layout(
    ENGAGEMENT,
    (
        *TIMES,
        owner("owner_id", "user_id"),
        Field("kind", ("type",), _kind),
        Field("subject", ("subject",)),
        Field("body", ("note", "public_description")),
        Field("started_at", ("due_date", "due_time"), _started_at),
        Field("ended_at", ("due_date", "due_time", "duration"), _ended_at),
        day("due_on", "due_date"),
        Field("done", ("done",)),
        Field("participants", ("participants",), _participants),
        Field("about", tuple(_ABOUT), _about),
    ),
    _activity_verbs,
)
note = Layout(
    ENGAGEMENT,
    (
        *TIMES,
        owner("user_id"),
        Field("kind", ("id",), lambda value, state, change: {"category": "note", "raw": "note"}),
        Field("body", ("content",)),
        Field("about", tuple(_ABOUT), _about),
    ),
    _note_verbs,
)
