"""crm.engagement: a call, a meeting, an e-mail, a note or a task."""

from datetime import date, datetime

from .entity import Coded, Entity, EntityType, Reference, words


class EngagementKind(Coded):
    category: str | None = words("call", "meeting", "email", "note", "task")


class Engagement(Entity):
    kind: EngagementKind | None = None
    subject: str | None = None
    body: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    due_on: date | None = None
    done: bool | None = None
    participants: list[Reference] | None = None
    about: list[Reference] | None = None


ENGAGEMENT = EntityType("crm", "engagement", Engagement, verbs=("recorded", "updated", "completed", "deleted"))
