"""A Zendesk account: its tickets, and the events that Zendesk makes of what is done to them."""

import hashlib
import html
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ACCOUNT_ID, AGENT_ID = 20417733, 17204399901777

Object = dict[str, Any]

_CHANGES = {  # a field in the API: the event on its change
    "status": "status_changed",
    "priority": "priority_changed",
    "type": "type_changed",
    "subject": "subject_changed",
    "assignee_id": "agent_assignment_changed",
    "external_id": "external_id_changed",
}
_UPPER = ("status", "priority", "type")  # in events, and lower in the API


@dataclass
class Ticket:
    """A ticket as the API shows it, with its audits."""

    shown: Object
    audits: list[Object] = field(default_factory=list)  # oldest first


class Invalid(Exception):
    """Zendesk's reason to refuse a change with 422."""


class Account:
    """The tickets, and what may be changed of them."""

    def __init__(self, address: str, clock: Callable[[], datetime]) -> None:
        self.tickets: dict[int, Ticket] = {}
        self.keys: dict[str, tuple[datetime, bytes, Object]] = {}  # when, for which body, and what was answered
        self.names = {AGENT_ID: "Unsilo"}
        self._address = address
        self._clock = clock
        self._last_id = int(clock().timestamp() * 10_000)  # so that a second start gives no id again

    def user(self, name: str) -> int:
        """The id of a person, which follows from the name."""
        user = 17_000_000_000_000 + int(hashlib.sha256(name.encode()).hexdigest()[:10], 16)
        self.names[user] = name
        return user

    def create(self, asked: Mapping[str, Any], author: int) -> tuple[Ticket, Sequence[Object]]:
        """A new ticket and its events."""
        comment = asked.get("comment")
        if not isinstance(comment, dict) or not comment.get("body"):
            raise Invalid("Description: cannot be blank")
        number, at = 4820 + len(self.tickets) + 1, self._now()
        shown: Object = {
            "url": f"{self._address}/api/v2/tickets/{number}.json",
            "id": number,
            "external_id": asked.get("external_id"),
            "via": {"channel": "api" if author == AGENT_ID else "mail", "source": {"from": {}, "to": {}, "rel": None}},
            "created_at": at,
            "updated_at": at,
            "type": asked.get("type"),
            "subject": asked.get("subject"),
            "raw_subject": asked.get("subject"),
            "description": comment["body"],
            "priority": asked.get("priority"),
            "status": asked.get("status", "new"),
            "requester_id": author,
            "submitter_id": author,
            "assignee_id": asked.get("assignee_id"),
            "organization_id": None,
            "group_id": None,
            "is_public": comment.get("public", True),
            "tags": list(asked.get("tags") or ()),
            "custom_fields": [],
            "ticket_form_id": 17204388009233,
            "brand_id": 17204388001809,
            "custom_status_id": 17204388013329,
        }
        ticket = self.tickets[number] = Ticket(shown)
        created = [
            {"id": self._id(), "type": "Create", "field_name": name, "value": shown[name]}
            for name in ("subject", "status", "priority", "type", "requester_id", "external_id")
            if shown[name] is not None
        ]
        said = self._comment(comment, author)
        self._audit(ticket, author, asked.get("metadata"), [said, *created])
        return ticket, [self._event(ticket, "created", {}, author), self._comment_added(ticket, said, author)]

    def update(self, ticket: Ticket, asked: Mapping[str, Any], author: int) -> Sequence[Object]:
        """Changes a ticket and returns the events. What is closed stays as it is."""
        if ticket.shown["status"] == "closed":
            raise Invalid("Status: closed prevents ticket update")
        changes = {name: asked[name] for name in _CHANGES if name in asked and asked[name] != ticket.shown[name]}
        before = {name: ticket.shown[name] for name in changes}
        ticket.shown |= {**changes, "updated_at": self._now()}
        events: list[Object] = [
            {"id": self._id(), "type": "Change", "field_name": name, "value": value, "previous_value": before[name]}
            for name, value in changes.items()
        ]
        told: list[Object] = []
        comment = asked.get("comment")
        if isinstance(comment, dict) and comment.get("body"):
            said = self._comment(comment, author)
            events.insert(0, said)
            told.append(self._comment_added(ticket, said, author))
        for name, value in changes.items():
            what = {"current": _as_told(name, value), "previous": _as_told(name, before[name])}
            told.append(self._event(ticket, _CHANGES[name], what, author))
        if events:
            self._audit(ticket, author, asked.get("metadata"), events)
        return told

    def _comment(self, comment: Mapping[str, Any], author: int) -> Object:
        body = comment["body"]
        return {
            "id": self._id(),
            "type": "Comment",
            "author_id": author,
            "body": body,
            "html_body": f'<div class="zd-comment" dir="auto"><p dir="auto">{html.escape(body)}</p></div>',
            "plain_body": body,
            "public": comment.get("public", True),
            "attachments": [],
        }

    def _audit(self, ticket: Ticket, author: int, custom: object, events: Sequence[Object]) -> None:
        audit = {
            "id": self._id(),
            "ticket_id": ticket.shown["id"],
            "created_at": self._now(),
            "author_id": author,
            "metadata": {"system": {"client": "double"}, "custom": custom if isinstance(custom, dict) else {}},
            "events": events,
            "via": {"channel": "api", "source": {"from": {}, "to": {}, "rel": None}},
        }
        ticket.audits.append(audit)

    def _comment_added(self, ticket: Ticket, said: Mapping[str, Any], author: int) -> Object:
        comment = {
            "author": {
                "id": str(author),
                "is_staff": author != ticket.shown["requester_id"],
                "name": self.names[author],
            },
            "body": said["body"],
            "html_body": said["html_body"],
            "id": str(said["id"]),
            "is_public": said["public"],
        }
        return self._event(ticket, "comment_added", {"comment": comment}, author)

    def _event(self, ticket: Ticket, name: str, what: Mapping[str, Any], actor: int) -> Object:
        shown = ticket.shown
        texts = ("assignee_id", "brand_id", "group_id", "id", "organization_id", "requester_id", "submitter_id")
        as_they_are = ("created_at", "description", "external_id", "is_public", "subject", "updated_at")
        return {
            "account_id": ACCOUNT_ID,
            "detail": {
                "actor_id": str(actor),
                "custom_status": str(shown["custom_status_id"]),
                "form_id": str(shown["ticket_form_id"]),
                "tags": shown["tags"] or None,
                "via": {"channel": shown["via"]["channel"]},
                **{one: shown[one] for one in as_they_are},
                **{one: _as_told(one, shown[one]) for one in (*texts, *_UPPER)},
            },
            "event": {**what, "meta": {"sequence": {"id": uuid.uuid4().hex.upper(), "position": 1}}},
            "id": str(uuid.uuid4()),
            "subject": f"zen:ticket:{shown['id']}",
            "time": f"{self._clock():%Y-%m-%dT%H:%M:%S.%f}000Z",
            "type": f"zen:event-type:ticket.{name}",
            "zendesk_event_version": "2022-11-06",
        }

    def _id(self) -> int:
        self._last_id += 128
        return self._last_id

    def _now(self) -> str:
        return f"{self._clock():%Y-%m-%dT%H:%M:%SZ}"


def _as_told(name: str, value: Any) -> str | None:
    """Of an event: ids are texts there, and some words are in capitals."""
    if value is None:
        return None
    return str(value).upper() if name in _UPPER else str(value)
