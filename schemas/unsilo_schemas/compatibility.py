"""What may not happen to a published schema inside a major version.

Fields may be added, and types. Everything else breaks somebody: events of yesterday are checked against today's schema
(replays, retained topics), and events of today against the copy of yesterday's schema that a consumer keeps. So what a
field allows is neither narrowed nor widened. Enumerations that are open are `Coded`; one that is written as a list of
values is closed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_NOTES = {"$id", "$schema", "$defs", "title", "description", "default", "examples", "deprecated"}
_COMPARED = {"type", "anyOf", "oneOf", "properties", "required", "enum", "const", "items", "additionalProperties"}


def breaking(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[str]:
    """What is lost or changed between two sets of schemas, by file name: a sentence each, none if they are compatible.

    The schemas are those of `jsonschema.schema`: JSON Schema 2020-12 as pydantic writes it.
    """
    found: list[str] = []
    for name, schema in old.items():
        if name not in new:
            found.append(f"{name}: removed")
        else:
            before, after = (_resolved(one, one.get("$defs", {}), ()) for one in (schema, new[name]))
            found += dict.fromkeys(f"{name}: {fault}" for fault in _differences(before, after, ""))
    return found


def _differences(old: Schema, new: Schema, place: str) -> Iterator[str]:
    before, after = _alternatives(old), _alternatives(new)
    yield from _changed(before, after, place or "/")
    for kind in before:
        if kind in after:
            yield from _within(before[kind], after[kind], place)


def _within(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Differences between two schemas of the same type."""
    yield from _changed(_values(old), _values(new), place or "/")
    fields, fields_now = old.get("properties", {}), new.get("properties", {})
    for name, field in fields.items():
        if name not in fields_now:
            yield f"{place}/{name}: removed"
        else:
            yield from _differences(field, fields_now[name], f"{place}/{name}")
    required, required_now = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{place}/{name}: now required" for name in sorted(required_now - required))
    yield from (f"{place}/{name}: no longer required" for name in sorted((required - required_now) & set(fields_now)))
    for word, step in (("items", "/*"), ("additionalProperties", "/*")):
        rest, rest_now = old.get(word, True), new.get(word, True)
        if isinstance(rest, Mapping) and isinstance(rest_now, Mapping):
            yield from _differences(rest, rest_now, place + step)
        elif rest != rest_now:
            yield f"{place or '/'}: {word} changed"
    for word in sorted((set(old) | set(new)) - _NOTES - _COMPARED):
        if old.get(word) != new.get(word):
            yield f"{place or '/'}: {word} changed"


def _changed(old: Iterable[str], new: Iterable[str], place: str) -> Iterator[str]:
    yield from (f"{place}: no longer {one}" for one in old if one not in set(new))
    yield from (f"{place}: now also {one}" for one in new if one not in set(old))


def _alternatives(schema: Schema) -> dict[str, Schema]:
    """The schemas of which a value must fit one, by type. Two of one type are told apart by their order."""
    common = {word: rule for word, rule in schema.items() if word not in ("anyOf", "oneOf")}
    found: dict[str, Schema] = {}
    for option in schema.get("anyOf", schema.get("oneOf", [{}])):
        whole = {**common, **option}
        kind = str(whole.get("type", "anything"))
        found[f"{kind} ({len(found)})" if kind in found else kind] = whole
    return found


def _values(schema: Schema) -> list[str]:
    if "const" in schema:
        return [repr(schema["const"])]
    return [repr(value) for value in schema["enum"]] if "enum" in schema else ["any value"]


def _resolved(node: Any, shapes: Schema, inside: tuple[str, ...]) -> Any:
    """The schema with every `$ref` replaced by what it names, so that a shape may be renamed; a recursive one stays."""
    if isinstance(node, list):
        return [_resolved(item, shapes, inside) for item in node]
    if not isinstance(node, dict):
        return node
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    if name in shapes and name not in inside:
        beside = {word: rule for word, rule in node.items() if word != "$ref"}
        return _resolved({**shapes[name], **beside}, shapes, (*inside, name))
    return {word: _resolved(rule, shapes, inside) for word, rule in node.items() if word != "$defs"}
