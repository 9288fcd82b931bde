"""BambooHR's bodies, in JSON or as a form, taken apart by employee.

A form nests by brackets as PHP reads it: `data[changedFields][0]=firstName`, `employees[12345][First+name]=Signe`.
"""

from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from ..contract import MalformedWebhook
from ..payloads import read_object, write_json
from .fields import is_private

_MOST_FIELDS = 20_000


def tree(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A body as nested objects, whichever way it is written; lists of a form are objects by number."""
    body = body.removeprefix(BOM_UTF8)
    if not is_form(body, headers):
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

    JSON is written anew, also where nothing was private: of two fields with one name only one was looked at.
    """
    body = body.removeprefix(BOM_UTF8)
    return _form_parts(body) if is_form(body, headers) else _json_parts(body)


def is_form(body: bytes, headers: Mapping[str, str]) -> bool:
    """By what the headers say; where they say nothing, by the body's first sign."""
    kind = headers.get("content-type", "").strip().lower()
    return kind.startswith("application/x-www-form-urlencoded") if kind else body.lstrip()[:1] not in (b"{", b"[")


def steps(name: str) -> list[str]:
    """`employees[5][First name]` as `employees`, `5`, `First name`."""
    head, bracket, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")] if bracket else [head]


def _json_parts(body: bytes) -> Iterable[bytes]:
    try:
        public = _without_private(read_object(body))
    except RecursionError:
        raise MalformedWebhook("nested too deeply") from None
    employees = public.get("employees")
    several = isinstance(employees, list) and len(employees) > 1
    if several:
        return (write_json({**public, "employees": [employee]}) for employee in employees)
    return [write_json(public)]


def _without_private(value: Any) -> Any:
    """Without private fields at any depth: administrators and older versions put them in many places."""
    if isinstance(value, dict):
        return {name: _without_private(inner) for name, inner in value.items() if not is_private(name)}
    return [_without_private(inner) for inner in value] if isinstance(value, list) else value


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
