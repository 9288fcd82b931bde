"""What one body says of one employee."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ..contract import MalformedWebhook
from ..payloads import epoch, moment, read_id, read_text

SENT_AT = "x-bamboohr-timestamp"
_BESIDE_FIELDS = frozenset({"id", "action", "timestamp", "changedFields", "fields"})


class Notice(NamedTuple):
    """`employee` is None in events about the company; `stamp` is when it happened, or else when it was sent."""

    type: str
    employee: str | None
    company: str
    stamp: str
    changed: list[str]
    fields: Mapping[str, Any]

    @property
    def time(self) -> datetime:
        return epoch(self.stamp) if self.stamp.isdecimal() else moment(self.stamp)


def notice(body: dict[str, Any], headers: Mapping[str, str]) -> Notice:
    """Reads an event-based or a field-based body; MalformedWebhook for neither, and for several employees at once."""
    if "employees" in body:
        return _with_fields(body["employees"], headers)
    kind, data = body.get("type"), body.get("data", {})
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise MalformedWebhook("neither type and data nor employees")
    employee = data.get("employeeId")
    return Notice(
        type=kind,
        employee=None if employee is None else read_id(employee, "data.employeeId"),
        company=read_id(data["companyId"], "data.companyId") if data.get("companyId") is not None else "",
        stamp=_stamp(body.get("timestamp"), headers),
        changed=_changed(data.get("changedFields")),
        fields={},
    )


def _with_fields(employees: Any, headers: Mapping[str, str]) -> Notice:
    """Field-based. A form may number the employees or, as documented, name each group by the employee's id."""
    if isinstance(employees, dict):
        named = [(key, entry if isinstance(entry, dict) else {}) for key, entry in employees.items()]
    elif isinstance(employees, list):
        named = [(None, entry) for entry in employees]
    else:
        raise MalformedWebhook("employees: not a list")
    if len(named) != 1:
        raise MalformedWebhook("employees: not exactly one in a part")
    key, entry = named[0]
    if not isinstance(entry, dict):
        raise MalformedWebhook("employees.0: not an object")
    action = read_text(entry.get("action") or "updated", "employees.0.action")  # older bodies say no action, no time
    return Notice(
        type="employee_with_fields." + action.lower(),
        employee=read_id(entry.get("id", key), "employees.0.id"),
        company="",
        stamp=_stamp(entry.get("timestamp"), headers),
        changed=_changed(entry.get("changedFields")),
        fields=_fields(entry),
    )


def _fields(entry: dict[str, Any]) -> Mapping[str, Any]:
    fields = entry.get("fields")
    if fields is None:  # forms put them beside the rest
        return {name: value for name, value in entry.items() if name not in _BESIDE_FIELDS}
    if isinstance(fields, dict):
        return fields
    if fields in ([], ""):  # how PHP writes an object without members
        return {}
    raise MalformedWebhook("employees.0.fields: not an object")


def _changed(names: Any) -> list[str]:
    if names is None or names == "":
        return []
    values = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(values, list):
        raise MalformedWebhook("changedFields: not a list")
    return [read_id(name, "changedFields") for name in values]  # ids where a field is not among those posted


def _stamp(given: Any, headers: Mapping[str, str]) -> str:
    if given is None or given == "":
        given = headers.get(SENT_AT)  # event-based forms carry no time
    if not isinstance(given, str) or not given:
        raise MalformedWebhook("timestamp: not a time")
    return given
