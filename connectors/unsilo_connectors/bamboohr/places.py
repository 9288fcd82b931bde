"""Where in a body something may stand, and what is kept of it: what can be told, as what is not stored cannot leak.

Anything else is left out: administrators, older versions and whoever else fills in a form put private fields in many
places. What is of another kind than its place wants stays of another kind, without its content, so that the body
remains as malformed as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..masking import MASK
from .fields import is_told


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What may stand in one place: a bare value, members of these names, numbered ones, fields that are told."""

    is_plain: bool = False
    members: Mapping[str, "Place"] = field(default_factory=dict)
    each: "Place | None" = None
    told: "Place | None" = None

    def inside(self, name: str, wanted: frozenset[str]) -> "Place | None":
        """The place of a member of that name, of a list's by its number; None where no such member is kept."""
        known = self.members.get(name)
        if known is not None:
            return known
        if self.told is not None:
            return self.told if is_told(name, wanted) else None
        return self.each if not name or name.isdecimal() or self is _EMPLOYEES else None  # these by id in forms


_TEXT = Place(is_plain=True)
_NAMES = Place(each=_TEXT)  # of the changed fields: they say nothing of a value
_FIELD = Place(is_plain=True, each=_TEXT, members={"value": Place(is_plain=True, each=_TEXT)})
_EMPLOYEE = Place(
    members={"id": _TEXT, "action": _TEXT, "timestamp": _TEXT, "changedFields": _NAMES, "fields": Place(told=_FIELD)},
    told=_FIELD,  # forms put them beside the rest
)
_EMPLOYEES = Place(each=_EMPLOYEE)
_DATA = Place(members={"companyId": _TEXT, "employeeId": _TEXT, "changedFields": _NAMES})
BODY = Place(members={"type": _TEXT, "timestamp": _TEXT, "data": _DATA, "employees": _EMPLOYEES})


def kept(value: Any, place: Place, wanted: frozenset[str]) -> Any:
    """A JSON value without what is not told; `wanted` holds the letters of the connection's custom fields."""
    if isinstance(value, dict):
        members = [(name, member, place.inside(name, wanted)) for name, member in value.items()]
        return {name: kept(member, where, wanted) for name, member, where in members if where is not None}
    if isinstance(value, list):
        return [MASK if place.each is None else kept(member, place.each, wanted) for member in value]
    return value if place.is_plain or value in (None, "") else MASK


def place_of(path: list[str], wanted: frozenset[str]) -> Place | None:
    """Where the value of a form's pair stands; None where it is not kept."""
    place: Place | None = BODY
    for step in path:
        if place is None:
            return None
        place = place.inside(step, wanted)
    return place
