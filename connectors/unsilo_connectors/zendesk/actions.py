"""What is written to Zendesk: comments on tickets, and new tickets, in the name of the token's agent."""

import base64
from collections.abc import Generator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode

from pydantic import Field, JsonValue

from ..actions import (
    Action,
    Arguments,
    Call,
    Command,
    Postponed,
    Refused,
    Response,
    Steps,
    Written,
    checked,
    json_call,
    retry_after,
)
from ..payloads import pointer
from .layouts import TICKET_LAYOUT
from .values import Here

Object: TypeAlias = Mapping[str, Any]

MARKER = "unsilo_key"

_PAGES = 10
_PAGE_SIZE = 100  # the most that Zendesk gives
_NAMES = {"custom_status_id": "custom_status", "ticket_form_id": "form_id"}  # in audits, and in events


class CommentArguments(Arguments):
    """`public` comments are mailed to the requester; the others are notes among agents."""

    body: str = Field(min_length=1)
    public: bool = False


class TicketArguments(Arguments):
    """A ticket whose requester is the token's agent."""

    title: str = Field(min_length=1)
    body: str = Field(min_length=1)
    priority: Literal["urgent", "high", "normal", "low"] | None = None
    kind: Literal["question", "incident", "problem", "task"] | None = None
    tags: tuple[str, ...] = ()
    public: bool = False


def comment(command: Command[Here, CommentArguments]) -> Steps:
    """An update has no idempotency, so its audit gets our key, and a repeated command looks there first."""
    ticket = command.target.id if command.target else ""
    if not (ticket.isascii() and ticket.isdigit()):
        raise Refused("has no ticket that this could be a comment on")
    if command.repeated and (audit := (yield from _earlier(command, ticket))) is not None:
        return _commented(audit, ticket, command.connection)
    said = command.arguments
    update: JsonValue = {"comment": {"body": said.body, "public": said.public}, "metadata": {MARKER: command.key}}
    answer = _done((yield _call(command.connection, "PUT", f"tickets/{ticket}.json", {"ticket": update})))
    return _commented(_object(answer, "audit"), ticket, command.connection)


def ticket(command: Command[Here, TicketArguments]) -> Steps:
    """Zendesk forgets an idempotency key after two hours, so a repeated command looks for the external id as well."""
    here, key = command.connection, command.key
    if command.repeated and (created := (yield from _created(here, key))) is not None:
        return _ticketed(created, (yield from _earlier(command, created)), here)
    asked = command.arguments
    optional: dict[str, JsonValue] = {"priority": asked.priority, "type": asked.kind, "tags": [*asked.tags] or None}
    new: JsonValue = {
        "subject": asked.title,
        "comment": {"body": asked.body, "public": asked.public},
        "external_id": key,
        "metadata": {MARKER: key},
        **{name: value for name, value in optional.items() if value is not None},
    }
    answer = _done((yield _call(here, "POST", "tickets.json", {"ticket": new}, {"idempotency-key": key})))
    return _ticketed(_id(_object(answer, "ticket").get("id")), _object(answer, "audit"), here)


def whoami(connection: Here) -> Generator[Call, Response, Sequence[str]]:
    """The agent's id, which is the `actor_id` of what is done with the token."""
    if connection.settings.token is None:
        return ()
    user = _object(_done((yield _call(connection, "GET", "users/me.json"))), "user")
    if user.get("id") is None:
        raise Refused("takes us for nobody: check the connection's email and token")  # and answers 200
    return (_id(user["id"]),)


def pause(response: Response) -> timedelta | None:
    """Nothing left of this minute's calls: until the next, which `ratelimit-reset` says only in part of the answers."""
    left = response.headers.get("ratelimit-remaining", response.headers.get("x-rate-limit-remaining"))
    if left != "0":
        return None
    seconds = response.headers.get("ratelimit-reset", "")
    return timedelta(seconds=min(int(seconds[:9]), 3600) if seconds.isdecimal() else 60)


ACTIONS = {
    "comment": Action(
        "Comment on a ticket",
        CommentArguments,
        comment,
        target_type="ticket",
        internal=lambda arguments: not arguments.public,
    ),
    "ticket": Action("Create a ticket", TicketArguments, ticket, internal=lambda arguments: not arguments.public),
}


def _commented(audit: Object, ticket: str, here: Here) -> Sequence[Written]:
    """The comment, and the ticket with the fields that changed along with it."""
    url = TICKET_LAYOUT.url(ticket, here)
    return (
        Written("comment", _comment(audit)),
        Written("ticket", ticket, url=url, fields=_touched(audit)),
    )


def _ticketed(ticket: str, audit: Object | None, here: Here) -> Sequence[Written]:
    """The ticket, and the comment that is its description."""
    new = Written("ticket", ticket, url=TICKET_LAYOUT.url(ticket, here))
    return (new,) if audit is None else (new, Written("comment", _comment(audit)))


def _comment(audit: Object) -> str:
    return _id(next((event.get("id") for event in _own(audit) if event.get("type") == "Comment"), None))


def _touched(audit: Object) -> Sequence[str]:
    """Where in our entity the fields are that the audit says were changed."""
    names = [event.get("field_name") for event in _own(audit) if event.get("type") == "Change"]
    found: dict[str, None] = {}
    for name in names:
        if isinstance(name, str):
            own = (pointer("custom", name),) if name.isdecimal() else ()
            found.update(dict.fromkeys(own or TICKET_LAYOUT.targets(_NAMES.get(name, name))))
    return tuple(found)


def _own(audit: Object) -> Sequence[Object]:
    """The audit's events without those of triggers, which act within our update but not on our behalf."""
    return [event for event in _listed(audit, "events") if not _by_rule(event.get("via"))]


def _by_rule(via: object) -> bool:
    return isinstance(via, dict) and via.get("channel") == "rule"


def _earlier(command: Command[Here, Any], ticket: str) -> Generator[Call, Response, Object | None]:
    """The audit that bears our key. Refused rather than a guess where the ticket has too many to be read."""
    query = {"page[size]": str(_PAGE_SIZE)}
    for _ in range(_PAGES):
        path = f"tickets/{ticket}/audits.json?{urlencode(query)}"
        answer = _done((yield _call(command.connection, "GET", path)))
        for audit in _listed(answer, "audits"):
            if _key(audit) == command.key:
                return audit
        meta = answer.get("meta")
        following = meta.get("after_cursor") if isinstance(meta, dict) and meta.get("has_more") is True else None
        if not isinstance(following, str) or not following.isascii():
            return None
        query["page[after]"] = following
    raise Refused(f"may have this already: the ticket has more than {_PAGES * _PAGE_SIZE} audits to look through")


def _created(here: Here, key: str) -> Generator[Call, Response, str | None]:
    answer = _done((yield _call(here, "GET", f"tickets.json?{urlencode({'external_id': key})}")))
    found = next((one for one in _listed(answer, "tickets") if one.get("external_id") == key), None)
    return None if found is None else _id(found.get("id"))


def _key(audit: Object) -> object:
    """What we gave as `metadata` comes back in `metadata.custom`."""
    metadata = audit.get("metadata")
    custom = metadata.get("custom") if isinstance(metadata, dict) else None
    return custom.get(MARKER) if isinstance(custom, dict) else None


def _call(here: Here, method: str, path: str, body: JsonValue = None, headers: Mapping[str, str] | None = None) -> Call:
    settings = here.settings
    if settings.api is None or settings.email is None or settings.token is None:
        raise Refused("cannot be written to without `subdomain`, `email` and `token` in the connection's settings")
    credentials = f"{settings.email}/token:{settings.token.get_secret_value()}".encode()
    known = {"authorization": f"Basic {base64.b64encode(credentials).decode()}", **(headers or {})}
    url = f"{settings.api}/api/v2/{path}"
    return Call(method, url, known) if body is None else json_call(method, url, body, known)


def _done(response: Response) -> Object:
    """The answer to a call that was done. 409 is two updates at once, which Zendesk asks to try again."""
    if response.status == 409:
        raise Postponed("is changing the same object at this moment (409)", retry_after(response))
    return checked(response).object()


def _object(of: Object, name: str) -> Object:
    value = of.get(name)
    if not isinstance(value, dict):
        raise Postponed(f"answered without {name}")
    return value


def _listed(of: Object, name: str) -> Sequence[Object]:
    value = of.get(name)
    if not isinstance(value, list):
        raise Postponed(f"answered without {name}")
    return [item for item in value if isinstance(item, dict)]


def _id(value: object) -> str:
    """Ids are numbers in the API."""
    if type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit()):
        return str(value)
    raise Postponed("answered without naming what it has done")
