"""Which of Zendesk's fields is which of ours, for each kind of object."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from unsilo_schemas.account import ACCOUNT
from unsilo_schemas.entity import EntityType
from unsilo_schemas.ticket import TICKET
from unsilo_schemas.user import USER

from ..contract import Facts, MalformedWebhook
from ..payloads import pointer
from .values import (
    Here,
    Reader,
    actor,
    actors,
    channel,
    coded,
    emails,
    flag,
    identifier,
    outsider,
    reference,
    references,
    tags,
    text,
    time,
)

STATUS = coded(
    {
        "NEW": "new",
        "OPEN": "open",
        "PENDING": "waiting_on_requester",
        "HOLD": "on_hold",
        "ON-HOLD": "on_hold",  # as the placeholder writes it
        "SOLVED": "resolved",
        "CLOSED": "closed",
    }
)
PRIORITY = coded({"URGENT": "urgent", "HIGH": "high", "NORMAL": "normal", "LOW": "low"})
KIND = coded({"QUESTION": "question", "INCIDENT": "incident", "PROBLEM": "problem", "TASK": "task"})


Rows: TypeAlias = Sequence[tuple[str, str, Reader[Any]]]  # Zendesk's name, our field, how to read it


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of object: its rows, and what is kept in `custom` by its own name because we have no field for it.

    `page` is the part of its address before the id.
    """

    kind: EntityType
    remote_type: str
    page: str
    rows: Rows
    own: Rows

    def read(self, source: Mapping[str, Any], here: Here) -> Facts:
        """The fields of the entity that the source has."""
        found = read_rows(self.rows, source, here)
        custom = read_rows(self.own, source, here)
        if custom:
            found["custom"] = custom
        return found

    def url(self, remote_id: str, here: Here) -> str | None:
        """Where an agent sees the object; None unless the settings name the subdomain."""
        subdomain = here.settings.subdomain
        return subdomain and f"https://{subdomain}.zendesk.com/agent/{self.page}/{remote_id}"

    def targets(self, name: str) -> dict[str, Reader[Any]]:
        """What one of Zendesk's fields becomes: JSON Pointers into the entity and how to read it there."""
        in_custom = {pointer("custom", field): reader for row, field, reader in self.own if row == name}
        return in_custom or {pointer(field): reader for row, field, reader in self.rows if row == name}


def read_rows(rows: Rows, source: Mapping[str, Any], here: Here) -> Facts:
    """Those of the fields that the source has, in our terms."""
    found: Facts = {}
    name = ""
    try:
        for name, field, reader in rows:
            if name in source:
                found[field] = reader(source[name], here)
    except MalformedWebhook as error:
        raise MalformedWebhook(f"{name}: {error}") from None
    return found


def kept(**readers: Reader[Any]) -> Rows:
    """Rows of what keeps its name."""
    return tuple((name, name, reader) for name, reader in readers.items())


TICKET_LAYOUT = Layout(
    TICKET,
    "ticket",
    "tickets",
    rows=(
        ("id", "number", identifier),
        ("subject", "title", text),
        ("description", "description", text),
        ("type", "kind", KIND),
        ("status", "status", STATUS),
        ("priority", "priority", PRIORITY),
        ("requester_id", "reporter", actor),
        ("assignee_id", "assignees", actors),
        ("group_id", "units", references("group")),
        ("organization_id", "account", reference("organization")),
        ("problem_id", "parent", reference("ticket")),
        ("target_ticket_id", "merged_into", reference("ticket")),
        ("due_at", "due_at", time),
        ("via", "channel", channel),
        ("external_id", "external_id", text),
        ("tags", "tags", tags),
        ("created_at", "remote_created_at", time),
        ("updated_at", "remote_updated_at", time),
    ),
    own=kept(brand_id=identifier, form_id=identifier, custom_status=identifier, submitter_id=identifier),
)
USER_LAYOUT = Layout(
    USER,
    "user",
    "users",
    rows=(
        ("name", "display_name", text),
        ("email", "emails", emails),
        ("role", "role", text),
        ("role", "external", outsider),
        ("active", "active", flag),
        ("time_zone", "timezone", text),
        ("locale", "locale", text),
        ("tags", "tags", tags),
        ("created_at", "remote_created_at", time),
        ("updated_at", "remote_updated_at", time),
    ),
    own=kept(
        external_id=text,
        organization_id=identifier,
        default_group_id=identifier,
        custom_role_id=identifier,
        alias=text,
        details=text,
        notes=text,
        suspended=flag,
    ),
)
ORGANIZATION_LAYOUT = Layout(
    ACCOUNT,
    "organization",
    "organizations",
    rows=(
        ("name", "name", text),
        ("tags", "tags", tags),
        ("created_at", "remote_created_at", time),
        ("updated_at", "remote_updated_at", time),
    ),
    own=kept(external_id=text, group_id=identifier, shared_comments=flag, shared_tickets=flag),
)
