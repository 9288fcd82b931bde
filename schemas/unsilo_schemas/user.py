"""directory.user: an account in a system, not a person."""

from typing import Literal

from .entity import ContactPoint, Entity, EntityType


class User(Entity):
    display_name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    handle: str | None = None
    emails: list[ContactPoint] | None = None
    phones: list[ContactPoint] | None = None
    kind: Literal["human", "bot", "system"] | None = None
    role: str | None = None
    external: bool | None = None
    active: bool | None = None
    timezone: str | None = None
    locale: str | None = None


USER = EntityType("directory", "user", User, verbs=("created", "updated", "deactivated", "deleted"))
