"""link.link: which object is whose copy. Delivery asserts one for each write, and by it an echo is known."""

from typing import Literal

from .entity import CanonicalId, Entity, EntityType, Ref, Shape


class End(Shape):
    """One side of a link: an object by canonical id, and where it lives."""

    id: CanonicalId
    ref: Ref


class Wrote(End):
    """An object that a write created (no `fields`) or changed (JSON Pointers into its entity)."""

    fields: list[str] | None = None


class Story(Shape):
    """What the write belongs to: the event that started it all, and the connections reached since."""

    correlationid: str
    hops: int
    via: list[str]


class Link(Entity):
    kind: Literal["mirror_of"]
    left: End
    right: End
    wrote: list[Wrote]
    aggregate: CanonicalId
    command: str
    story: Story


LINK = EntityType("link", "link", Link, verbs=("asserted",), key="aggregate", regulation=None)
