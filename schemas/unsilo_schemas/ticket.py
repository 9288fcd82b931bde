"""ticket.ticket: somebody's question or trouble, and the comments on it."""

from datetime import datetime
from typing import Literal

from .entity import Actor, CanonicalId, Coded, Entity, EntityType, Reference, words


class TicketKind(Coded):
    category: str | None = words("question", "incident", "problem", "task")


class TicketStatus(Coded):
    category: str | None = words("new", "open", "in_progress", "waiting_on_requester", "on_hold", "resolved", "closed")


class TicketPriority(Coded):
    category: str | None = words("low", "normal", "high", "urgent")


class Ticket(Entity):
    number: str | None = None
    title: str | None = None
    description: str | None = None
    kind: TicketKind | None = None
    status: TicketStatus | None = None
    priority: TicketPriority | None = None
    reporter: Actor | None = None
    assignees: list[Actor] | None = None
    units: list[Reference] | None = None
    account: Reference | None = None
    parent: Reference | None = None
    due_at: datetime | None = None
    channel: str | None = None
    external_id: str | None = None
    merged_into: Reference | None = None


class Comment(Entity):
    ticket: CanonicalId
    author: Actor | None = None
    body: str | None = None
    html_body: str | None = None
    format: Literal["plain", "markdown", "html"] | None = None
    visibility: Literal["public", "internal"] | None = None


TICKET = EntityType(
    "ticket",
    "ticket",
    Ticket,
    verbs=(
        "created", "updated", "assigned", "status_changed", "escalated", "merged", "resolved", "reopened", "closed",
        "deleted", "restored",
    ),
)  # fmt: skip
COMMENT = EntityType(
    "ticket",
    "comment",
    Comment,
    verbs=("added", "edited", "visibility_changed"),
    key="ticket",
    aggregate="ticket",
)
