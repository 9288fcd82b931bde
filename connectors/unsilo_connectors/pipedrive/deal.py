"""A deal is an opportunity."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from unsilo_schemas.opportunity import OPPORTUNITY

from ..contract import MalformedWebhook
from .change import Change
from .fields import ABSENT, TIMES, Field, State, day, instant_text, labels, money, owner, reference
from .layout import Layout, ordinary

_CLOSED = {"won": "won_time", "lost": "lost_time"}
_STATUSES = ("open", "won", "lost")


def _status(raw: Any, state: State, change: Change) -> Any:
    return None if raw is None else {"category": raw if raw in _STATUSES else None, "raw": raw}


def _amount(value: Any, state: State, change: Change) -> Any:
    return money(state["value"], state.get("currency")) if "value" in state else ABSENT


def _contacts(person: Any, state: State, change: Change) -> Any:
    return None if person is None else [change.reference("person", person, "person_id", state.get("person_name"))]


def _closed_at(value: Any, state: State, change: Change) -> Any:
    """Version 2 does not always send `close_time`, but the times of winning and losing."""
    if value is not None:
        return instant_text(value)
    status = state.get("status")
    key = _CLOSED.get(status) if isinstance(status, str) else None
    if key is not None and key in state:
        return instant_text(state[key])
    return None if status == "open" or "close_time" in state else ABSENT


def _probability(percent: Any, state: State, change: Change) -> Any:
    """A share of one; Pipedrive counts in percent."""
    if percent is None:
        return None
    if type(percent) not in (int, Decimal) or not 0 <= percent <= 100:
        raise MalformedWebhook("probability: not a percentage")
    return float(percent) / 100


def _verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield ordinary(change)
    status = state.get("status")
    if change.action == "create" or before.get("status", status) != status:
        if status in _CLOSED:
            yield str(status)
        elif status == "open" and before.get("status") in ("won", "lost"):
            yield "reopened"
    if "stage_id" in before and before["stage_id"] != state.get("stage_id"):
        yield "stage_changed"


deal = Layout(
    OPPORTUNITY,
    (
        *TIMES,
        owner("owner_id", "user_id"),
        labels(),
        Field("name", ("title",)),
        reference("account", "organization", "org_id", "org_name"),
        Field("contacts", ("person_id",), _contacts),
        reference("pipeline", "pipeline", "pipeline_id"),
        reference("stage", "stage", "stage_id"),
        Field("status", ("status",), _status),
        Field("amount", ("value", "currency"), _amount),
        Field("probability", ("probability",), _probability),
        day("expected_close_on", "expected_close_date"),
        Field("closed_at", ("close_time", "won_time", "lost_time"), _closed_at),
        Field("loss_reason", ("lost_reason",)),
        Field("source", ("origin",)),
    ),
    _verbs,
    page="deal",
)
