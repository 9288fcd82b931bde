"""Which of BambooHR's fields are told, under which name of ours, and which never are.

BambooHR names a field by its label (`First Name`), by its alias in the API (`firstName`), or as the administrator
renamed it; names are compared by their letters and digits. What stands in no list is not told: closed by default.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from ..contract import Connection, Facts, MalformedWebhook
from ..payloads import pointer

# Labels: "Monitorable Fields" of the webhooks page. Aliases: "Field Names".
_OURS = {
    "employee#": "employee_number",
    "employeenumber": "employee_number",
    "displayname": "display_name",
    "firstname": "given_name",
    "lastname": "family_name",
    "preferredname": "preferred_name",
    "nickname": "preferred_name",
    "workemail": "work_email",
    "status": "status",
    "employmentstatus": "employment_status",
    "employmenthistorystatus": "employment_status",
    "hiredate": "hire_date",
    "terminationdate": "termination_date",
    "jobtitle": "job_title",
    "department": "department",
    "division": "division",
    "location": "work_location",
    "reportingto": "manager_name",
    "reportsto": "manager_name",
    "supervisor": "manager_name",
    "manager": "manager_name",
    "supervisoreid": "manager_id",  # the id; `supervisorId` is, in spite of its name, the manager's employee number
    "supervisorid": "manager_other",
    "supervisoremail": "manager_other",
}
_POINTERS = {
    "employment_status": "/status",
    "manager_name": "/manager",
    "manager_id": "/manager",
    "manager_other": "/manager",
}
_DATES = frozenset({"hire_date", "termination_date"})
_TEXTS = frozenset(_OURS.values()) - _DATES - _POINTERS.keys() - {"status"}
_STATUSES = {"active": "active", "inactive": "inactive"}
_EMPLOYMENT = {"terminated": "inactive", "furloughed": "on_leave", "leaveofabsence": "on_leave", "onleave": "on_leave"}

# Personal data that must not leave HR: never told, whatever the settings say. The lists rather hide too much.
_PRIVATE = frozenset({"city", "country", "state", "statecode"})  # of the home address; as whole names only
_PRIVATE_WORDS = frozenset({  # as whole words: `pan` also stands in `company`
    "age", "bic", "cell", "credit", "dob", "equity", "hourly", "iban", "race", "rate", "routing", "rsu", "sex",
    "shares", "stock", "swift", "weight",
    # numbers by which one country or another knows its people
    "ahv", "bsn", "bvn", "cnp", "cpf", "cpr", "curp", "dni", "egn", "jmbg", "nie", "nif", "nin", "nino", "nir",
    "nric", "oib", "pan", "pesel", "pps", "ppsn", "rfc", "rut", "sin", "snils", "ssn", "svnr", "tfn", "tin", "uan",
})  # fmt: skip
_PRIVATE_STARTS = (  # of any word
    "absence", "address", "blood", "contact", "covid", "crimin", "earning", "eeo", "home", "identit", "illness",
    "mobile", "paid", "pay", "politic", "postal", "pregnan", "private", "sexual", "sick", "tax", "vaccin", "zip",
)  # fmt: skip
_PRIVATE_PARTS = (
    "401k", "aadhaar", "aadhar", "accountnumber", "accounttype", "allerg", "allowance", "backgroundcheck", "bank",
    "benefit", "bestemail", "birth", "bonus", "citizen", "commission", "compensation", "conviction", "creditcard",
    "deduction", "dependent", "dietary", "disab", "disciplin", "driver", "emergency", "ethnic", "family", "garnish",
    "gender", "health", "hourlyrate", "immigration", "incentive", "income", "insurance", "marital", "maternity",
    "medical", "nationalid", "nationality", "overtime", "parentalleave", "passport", "paternity", "pension",
    "personal", "pronoun", "religio", "remunerat", "retirement", "routingnumber", "salar", "severance",
    "socialsecurity", "sortcode", "spouse", "stockoption", "terminationreason", "terminationtype", "union", "vesting",
    "veteran", "visa", "wage",
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Za-z][a-z]*")  # in labels and aliases: `Home Email`, `homeEmail`, `customNIN1`


@lru_cache(maxsize=4096)
def letters(name: str) -> str:
    """What two spellings of a field's name have in common: `Employee #`, `First Name`, `firstName`."""
    return "".join(sign for sign in name.lower() if sign.isalnum() or sign == "#")


@lru_cache(maxsize=4096)
def is_private(name: str) -> bool:
    """Whether a field holds what must not leave HR."""
    plain = letters(name)
    if plain in _OURS:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    return (
        plain in _PRIVATE
        or not _PRIVATE_WORDS.isdisjoint(words)
        or any(word.startswith(_PRIVATE_STARTS) for word in words)
        or any(part in plain for part in _PRIVATE_PARTS)
    )


def is_known(name: str) -> bool:
    """Whether the hub has a field of its own for it."""
    return letters(name) in _OURS


def is_told(name: str, wanted: frozenset[str]) -> bool:
    """Whether a field goes beyond the gateway; `wanted` holds the letters of further ones that are told."""
    return letters(name) in _OURS or (letters(name) in wanted and not is_private(name))


def pointers(names: Iterable[str], wanted: frozenset[str]) -> list[str]:
    """JSON Pointers for the changed fields that are told."""
    found: dict[str, None] = {}
    for name in names:
        ours = _OURS.get(letters(name))
        if ours is not None:
            found[_POINTERS.get(ours, "/" + ours)] = None
        elif is_told(name, wanted):
            found[pointer("custom", name)] = None
    return list(found)


def facts(fields: Mapping[str, Any], wanted: frozenset[str], connection: Connection[Any]) -> Facts:
    """The fields of an employee that are told."""
    said: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for name, value in fields.items():
        value = value["value"] if isinstance(value, dict) and "value" in value else value
        ours = _OURS.get(letters(name))
        if ours is not None:
            said[ours] = value
        elif is_told(name, wanted):
            custom[name] = value
    told: Facts = {}
    for ours, value in said.items():
        if ours in _DATES:
            told[ours] = _day(value)
        elif ours in _TEXTS:
            told[ours] = _text(value, ours)
    _add_status(told, said)
    _add_manager(told, said, connection)
    if custom:
        told["custom"] = custom
    return told


def _add_status(told: Facts, said: Mapping[str, Any]) -> None:
    """`Status` says it; of the kinds of employment only some do, and the others are left out."""
    if "status" in said:
        raw = _text(said["status"], "status")
        told["status"] = {"category": _STATUSES.get(letters(raw)), "raw": raw} if raw else None
        return
    raw = _text(said.get("employment_status"), "employment_status")
    category = _EMPLOYMENT.get(letters(raw)) if raw else None
    if category is not None:
        told["status"] = {"category": category, "raw": raw}


def _add_manager(told: Facts, said: Mapping[str, Any], connection: Connection[Any]) -> None:
    """A reference needs the manager's id; a name or number alone says only that there is one."""
    known = {key: _text(said[key], key) for key in ("manager_id", "manager_name", "manager_other") if key in said}
    remote_id, name = known.get("manager_id"), known.get("manager_name")
    if remote_id:
        told["manager"] = connection.reference("employee", remote_id, name=name or None)
    elif known and not any(known.values()):
        told["manager"] = None


def _day(value: Any) -> Any:
    """A date; BambooHR also writes none as an empty text or as zeros."""
    return None if value in ("", "0000-00-00") else value


def _text(value: Any, place: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise MalformedWebhook(f"{place}: not a text")
