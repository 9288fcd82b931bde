"""An organization is an account."""

from collections.abc import Iterable
from typing import Any

from unsilo_schemas.account import ACCOUNT

from .change import Change
from .fields import TIMES, Field, State, labels, money, owner
from .layout import Layout, ordinary


def _address(address: Any, state: State, change: Change) -> Any:
    """A text in version 1, its parts and the whole in version 2."""
    return address.get("formatted_address") or address.get("value") if isinstance(address, dict) else address


def _revenue(revenue: Any, state: State, change: Change) -> Any:
    if isinstance(revenue, dict):
        return money(revenue.get("value"), revenue.get("currency"))
    return money(revenue, None)


def _verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield ordinary(change)
    if "owner_id" in before and before["owner_id"] != state.get("owner_id"):
        yield "owner_changed"


organization = Layout(
    ACCOUNT,
    (
        *TIMES,
        owner("owner_id"),
        labels(),
        Field("name", ("name",)),
        Field("employee_count", ("employee_count",)),
        Field("annual_revenue", ("annual_revenue",), _revenue),
        Field("address", ("address",), _address),
    ),
    _verbs,
    page="organization",
)
