"""social.space: a channel or group, and who belongs to it."""

from typing import Literal

from .entity import Actor, CanonicalId, Entity, EntityType


class Space(Entity):
    name: str | None = None
    kind: Literal["channel", "group", "direct", "group_direct"] | None = None
    visibility: Literal["public", "private"] | None = None
    external: bool | None = None
    archived: bool | None = None
    creator: Actor | None = None


class Membership(Entity):
    space: CanonicalId
    member: Actor | None = None
    state: Literal["joined", "left"] | None = None
    invited_by: Actor | None = None


SPACE = EntityType("social", "space", Space, verbs=("created", "updated", "archived", "unarchived", "deleted"))
MEMBERSHIP = EntityType("social", "membership", Membership, verbs=("joined", "left"), key="space", aggregate="space")
