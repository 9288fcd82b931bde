"""BambooHR's bodies, in JSON or as a form, taken apart by employee.

A form nests by brackets as PHP reads it: `data[changedFields][0]=firstName`, `employees[12345][First+name]=Signe`.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from pydantic_core import to_json

from ..contract import MalformedWebhook
from ..payloads import read_object
from .fields import is_private

_MOST_FIELDS = 20_000


def tree(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A body as nested objects, whichever way it is written; lists of a form are objects by number."""
    if not is_form(headers):
        return read_object(body)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise MalformedWebhook("not a form in UTF-8") from None
    root: dict[str, Any] = {}
    for name, value in pairs:
        *path, last = steps(name)
        place = root
        for step in path:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise MalformedWebhook("a name in the form is both a value and a group")
            place = inner
        place[last] = value
    return root


def parts(body: bytes, headers: Mapping[str, str]) -> Iterable[bytes]:
    """One body for each employee, without the private fields: what is not stored cannot leak.

    A body of one employee without any stays what it is, byte for byte.
    """
    return _form_parts(body) if is_form(headers) else _json_parts(body)


def is_form(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


def steps(name: str) -> list[str]:
    """`employees[5][First name]` as `employees`, `5`, `First name`."""
    head, bracket, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")] if bracket else [head]


def _json_parts(body: bytes) -> Iterable[bytes]:
    document = read_object(body)
    employees = document.get("employees")
    if not isinstance(employees, list) or not employees:
        return [body]
    public = [_without_private(employee) for employee in employees]
    if len(employees) == 1 and public == employees:
        return [body]
    return [to_json({**document, "employees": [employee]}) for employee in public]


def _without_private(employee: Any) -> Any:
    fields = employee.get("fields") if isinstance(employee, dict) else None
    if not isinstance(fields, dict):
        return employee
    return {**employee, "fields": {name: value for name, value in fields.items() if not is_private(name)}}


def _form_parts(body: bytes) -> Iterable[bytes]:
    common: list[bytes] = []
    employees: dict[str, list[bytes]] = {}
    for pair in body.split(b"&"):
        path = steps(unquote_plus(pair.partition(b"=")[0].decode("utf-8", "replace")))
        if path[0] != "employees" or len(path) < 2:
            common.append(pair)
        elif not any(is_private(step) for step in path[2:]):
            employees.setdefault(path[1], []).append(pair)
        else:
            employees.setdefault(path[1], [])
    if not employees:
        return [body]
    return [b"&".join([*common, *pairs]) for pairs in employees.values()]
