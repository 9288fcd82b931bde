"""From a change to an event: the entity by its table of fields, what changed, and what it was before."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unsilo_schemas.entity import EntityType
from unsilo_schemas.writer import writer

from ..contract import Event, Facts, MalformedWebhook, Raw
from ..payloads import pointer
from .change import Change
from .fields import ABSENT, Field, State, custom, told


@dataclass(frozen=True)
class Layout:
    """How one kind of object is told. `verbs` gives those that fit, from the change, the state and what differed.

    `page` is the part of an object's address in the web app before its id, where it has one.
    """

    entity: EntityType
    fields: tuple[Field, ...]
    verbs: Callable[[Change, State, State], Iterable[str]]
    page: str = ""

    def __call__(self, change: Change, raw: Raw[Any]) -> Iterable[Event]:
        """The one event that a change is."""
        state, before = _states(change)
        entity = self._facts(change, state)
        writer(self.entity.model).check(entity)  # first: what follows relies on the types
        changed, previous = self._difference(change, state, before) if before else (_gone(entity, change), {})
        verbs = [*self.verbs(change, state, before), *(["merged"] if "merged_into" in entity else [])]
        verb = max(verbs, key=self.entity.verbs.index)
        yield Event(
            type=self.entity[verb],
            key=change.key,
            time=change.time,
            entity=entity,
            changed=changed,
            previous=previous or None,
            actor=change.actor,
        )

    @cached_property
    def _followers(self) -> dict[str, dict[str, Field]]:
        """Which of our fields follow from a name of Pipedrive's."""
        followers: dict[str, dict[str, Field]] = {}
        for field in self.fields:
            for key in field.keys:
                followers.setdefault(key, {})[field.name] = field
        return followers

    def _facts(self, change: Change, state: State) -> Facts:
        facts = told(self.fields, state, change)
        facts.update(change.connection.identified(change.kind, change.id, change.company, self._address(change)))
        own = custom(state)
        if own is not ABSENT:
            facts["custom"] = own
        if change.action == "delete":
            facts["deleted_at"] = change.time
            if "merged" in self.entity.verbs and change.meta.get("merged_to_id") is not None:
                facts["merged_into"] = change.reference(change.kind, change.meta["merged_to_id"], "meta.merged_to_id")
        return facts

    def _address(self, change: Change) -> str | None:
        host = change.meta.get("host")
        return f"https://{host}/{self.page}/{change.id}" if self.page and type(host) is str else None

    def _difference(self, change: Change, state: State, before: State) -> tuple[list[str], Facts]:
        """Version 2 sends former values of what changed, version 1 all of them."""
        touched: dict[str, Field] = {}
        for key, value in before.items():
            if key in self._followers and (key not in state or state[key] != value):
                touched |= self._followers[key]
        former = told(touched.values(), {**state, **before}, change)
        previous = {"/" + name: value for name, value in former.items()} | _custom_before(state, before)
        return list(previous), previous


def ordinary(change: Change) -> str:
    """The verb of an action that nothing more specific is known of."""
    return {"create": "created", "change": "updated", "delete": "deleted"}[change.action]


def _states(change: Change) -> tuple[State, State]:
    state, before = change.state, change.before
    if state is None and change.action == "delete":
        state = {}  # a deletion needs no more than the id
    if not isinstance(state, dict):
        raise MalformedWebhook("data: not an object")
    if before is not None and not isinstance(before, dict):
        raise MalformedWebhook("previous: not an object")
    return state, before or {}


def _gone(entity: Facts, change: Change) -> list[str]:
    """What a deletion changes, whose former state is all that it says."""
    return [pointer(name) for name in ("deleted_at", "merged_into") if change.action == "delete" and name in entity]


def _custom_before(state: State, before: State) -> Facts:
    was = custom(before)
    if not isinstance(was, dict):
        return {}
    now = custom(state)
    now = now if isinstance(now, dict) else {}
    return {pointer("custom", key): value for key, value in was.items() if key not in now or now[key] != value}
