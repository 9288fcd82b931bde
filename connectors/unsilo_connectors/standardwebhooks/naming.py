"""From a sender's names to canonical ids.

A sender knows neither its connection nor how the hub derives ids, so wherever our schemas want an id, a reference or
an actor it writes the object's own type and id, and the hub puts its terms in their place.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from unsilo_schemas.entity import Actor, ActorRef, CanonicalId, Entity, EntityType, Reference

from ..contract import Connection, Facts, MalformedWebhook
from ..payloads import read_text

Rename: TypeAlias = Callable[[Any, str, Connection[Any]], Any]  # a value of the sender's, and the place where it stands


def entity_in_our_terms(entity: Any, kind: EntityType, connection: Connection[Any]) -> Facts:
    """The fields of an entity, its id from `refs[0]`; MalformedWebhook for what names no object."""
    fields = dict(_object(entity, "entity"))
    identity = _identity(fields, connection)
    fields["refs"] = [{**ref, "system": connection.system, "connection": connection.id} for ref in fields["refs"]]
    for name, rename in _renames(kind.model).items():
        if name in fields:
            fields[name] = rename(fields[name], f"entity.{name}", connection)
    return {**fields, "id": identity}


def previous_in_our_terms(previous: Any, kind: EntityType, connection: Connection[Any]) -> Facts:
    """Former values by JSON Pointer, renamed where they stand for a whole field that names objects."""
    known = _renames(kind.model)
    return {
        pointer: known[pointer[1:]](value, f"previous.{pointer}", connection) if pointer[1:] in known else value
        for pointer, value in _object(previous, "previous").items()
    }


def key(entity: Any, kind: EntityType, connection: Connection[Any]) -> str:
    """The canonical id of the aggregate that an entity belongs to; MalformedWebhook for what names no object."""
    fields = _object(entity, "entity")
    if kind.key == "id":
        return _identity(fields, connection)
    return _canonical_id(fields.get(kind.key), f"entity.{kind.key}", connection)


def actor_in_our_terms(actor: Any, place: str, connection: Connection[Any]) -> Facts:
    """`{id, display_name?, kind?}` as an actor."""
    rest = dict(_object(actor, place))
    remote_id = read_text(rest.pop("id", None), place + ".id")
    return {**rest, "ref": {"connection": connection.id, "id": remote_id}}


def _identity(entity: Mapping[str, Any], connection: Connection[Any]) -> str:
    if "id" in entity:
        raise MalformedWebhook("entity.id: the hub derives it from refs[0]; leave it out")
    refs = entity.get("refs")
    if not isinstance(refs, list) or not refs or not all(isinstance(ref, dict) for ref in refs):
        raise MalformedWebhook("entity.refs: not a list of objects with type and id")
    return _derived(refs[0], "entity.refs.0", connection)


def _reference(value: Any, place: str, connection: Connection[Any]) -> Facts:
    named = _object(value, place)
    rest = {name: text for name, text in named.items() if name not in ("type", "id", "scope")}
    return {**rest, "id": _derived(named, place, connection), "remote_id": named["id"]}


def _actor_ref(value: Any, place: str, connection: Connection[Any]) -> Facts:
    return {**_object(value, place), "connection": connection.id}


def _canonical_id(value: Any, place: str, connection: Connection[Any]) -> str:
    return _derived(_object(value, place), place, connection)


def _derived(named: Mapping[str, Any], place: str, connection: Connection[Any]) -> str:
    scope = named.get("scope", "")
    return connection.entity_id(
        read_text(named.get("type"), place + ".type"),
        read_text(named.get("id"), place + ".id"),
        scope if scope == "" else read_text(scope, place + ".scope"),
    )


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise MalformedWebhook(f"{place}: not an object")
    return value


_NAMING: tuple[tuple[Any, Rename], ...] = (
    (Reference, _reference),
    (Actor, actor_in_our_terms),
    (ActorRef, _actor_ref),
    (CanonicalId, _canonical_id),
)


@cache
def _renames(model: type[Entity]) -> Mapping[str, Rename]:
    """The fields of an entity that name objects, and how each is renamed."""
    found = {}
    for name, hint in get_type_hints(model, include_extras=True).items():
        inner = next((arm for arm in _arms(hint) if arm is not NoneType), hint)
        many = get_origin(inner) is list
        rename = next((how for what, how in _NAMING if what == (get_args(inner)[0] if many else inner)), None)
        if rename is not None and name != "id":
            found[name] = _nullable(_each(rename) if many else rename)
    return found


def _arms(hint: Any) -> tuple[Any, ...]:
    arms = get_args(hint)
    return arms if NoneType in arms else ()


def _nullable(rename: Rename) -> Rename:
    return lambda value, place, connection: None if value is None else rename(value, place, connection)


def _each(rename: Rename) -> Rename:
    def each(values: Any, place: str, connection: Connection[Any]) -> list[Any]:
        if not isinstance(values, list):
            raise MalformedWebhook(f"{place}: not a list")
        return [rename(value, f"{place}.{number}", connection) for number, value in enumerate(values)]

    return each
