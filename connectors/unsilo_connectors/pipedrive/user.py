"""A user of Pipedrive."""

from collections.abc import Iterable
from typing import Any

from unsilo_schemas.user import USER

from .change import Change
from .fields import TIMES, Field, State
from .layout import Layout, ordinary


def _single(name: str, key: str) -> Field:
    def convert(value: Any, state: State, change: Change) -> Any:
        return None if value is None else [{"value": value, "primary": True}] if value else []

    return Field(name, (key,), convert)


def _verbs(change: Change, state: State, before: State) -> Iterable[str]:
    yield ordinary(change)
    if before.get("active_flag") and not state.get("active_flag", True):
        yield "deactivated"


user = Layout(
    USER,
    (
        *TIMES,
        Field("display_name", ("name",)),
        _single("emails", "email"),
        _single("phones", "phone"),
        Field("active", ("active_flag",)),
        Field("timezone", ("timezone_name",)),
        Field("locale", ("locale",)),
    ),
    _verbs,
)
