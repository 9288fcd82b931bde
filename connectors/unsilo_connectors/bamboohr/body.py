"""BambooHR's bodies, in JSON or as a form, taken apart by employee.

A form nests by brackets as PHP reads it: `data[changedFields][0]=firstName`, `employees[12345][First+name]=Signe`.
"""

from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from ..contract import MOST_PARTS, MalformedWebhook
from ..masking import MASK
from ..payloads import read_object, write_json
from .places import BODY, kept, place_of

_MOST_FIELDS = 20_000
_MOST_BYTES = 8 * 1024 * 1024  # of what stands beside the employees, and in each one's part once more


def tree(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A body as nested objects, whichever way it is written; lists of a form are objects by number."""
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


def parts(body: bytes, headers: Mapping[str, str], wanted: frozenset[str]) -> Iterable[bytes]:
    """One body for each employee, without the fields that are not told; `wanted` holds the letters of custom ones.

    JSON is written anew, also where nothing was left out: of two fields with one name only one was looked at. A body
    that cannot be taken apart could hold anything: why it cannot, and how long it is, stands in its place. That, and
    too many employees in one piece, or with too much beside them, becomes a dead letter.
    """
    read = _form_parts if is_form(body, headers) else _json_parts
    try:
        return read(body.removeprefix(BOM_UTF8), wanted)
    except MalformedWebhook as error:
        return [write_json({"withheld": str(error), "bytes": len(body)})]


def is_form(body: bytes, headers: Mapping[str, str]) -> bool:
    """By what the headers say; where they say nothing, by the body's first sign."""
    kind = headers.get("content-type", "").strip().lower()
    if kind:
        return kind.startswith("application/x-www-form-urlencoded")
    return body.removeprefix(BOM_UTF8).lstrip()[:1] not in (b"{", b"[")


def steps(name: str) -> list[str]:
    """`employees[5][First name]` as `employees`, `5`, `First name`."""
    head, bracket, rest = name.partition("[")
    return [head, *rest.removesuffix("]").split("][")] if bracket else [head]


def _json_parts(body: bytes, wanted: frozenset[str]) -> Iterable[bytes]:
    public = kept(read_object(body), BODY, wanted)
    employees = public.get("employees")
    if isinstance(employees, list) and _can_be_split(len(employees), len(write_json({**public, "employees": []}))):
        return (write_json({**public, "employees": [employee]}) for employee in employees)
    return [write_json(public)]


def _can_be_split(employees: int, common: int) -> bool:
    """Whether it is worth while, and what so many parts have in common, in bytes, does not become too much."""
    return 1 < employees <= MOST_PARTS and employees * common <= _MOST_BYTES


def _form_parts(body: bytes, wanted: frozenset[str]) -> Iterable[bytes]:
    common: list[bytes] = []
    employees: dict[str, list[bytes]] = {}
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        path = steps(unquote_plus(name.decode("utf-8", "replace")))
        of_one = path[0] == "employees" and len(path) > 1
        pairs = employees.setdefault(path[1], []) if of_one else common
        place = place_of(path, wanted)
        if place is not None:
            pairs.append(pair if place.is_plain or not value else name + b"=" + MASK.encode())
    if not common and not employees:
        raise MalformedWebhook("no pair that a form of BambooHR's has")
    for employee, pairs in employees.items():
        if not pairs:  # nothing is told but that there was a change, as if no fields had been posted
            pairs.append(quote_plus(f"employees[{employee}][fields]").encode() + b"=")
    if not _can_be_split(len(employees), sum(map(len, common))):
        return [b"&".join([*common, *chain.from_iterable(employees.values())])]
    return [b"&".join([*common, *pairs]) for pairs in employees.values()]
