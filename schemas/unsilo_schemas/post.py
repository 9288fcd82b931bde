"""social.post and social.reply: one shape, two types, so that a thread is one thing; and the reactions to them."""

from datetime import datetime
from typing import Literal

from .entity import Actor, ActorRef, CanonicalId, Entity, EntityType, Shape


class Attachment(Shape):
    """A file, never inline: `dataref` is the vendor's own address."""

    file_name: str | None = None
    media_type: str | None = None
    size: int | None = None
    dataref: str | None = None


class Post(Entity):
    space: CanonicalId
    author: Actor | None = None
    body: str | None = None
    format: Literal["plain", "markdown", "mrkdwn", "html"] | None = None
    thread: CanonicalId | None = None
    in_reply_to: CanonicalId | None = None
    mentions: list[ActorRef] | None = None
    attachments: list[Attachment] | None = None
    edited_at: datetime | None = None
    marker: str | None = None


class Reaction(Entity):
    space: CanonicalId
    target: CanonicalId
    actor: Actor | None = None
    emoji: str | None = None


POST = EntityType("social", "post", Post, verbs=("published", "edited", "deleted"), key="space", aggregate="space")
REPLY = EntityType("social", "reply", Post, verbs=("published", "edited", "deleted"), key="space", aggregate="space")
REACTION = EntityType("social", "reaction", Reaction, verbs=("added", "removed"), key="space", aggregate="space")
