"""Entities and the events that tell of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from unsilo_schemas.catalogue import ENTITY_TYPES, EVENT_TYPES
from unsilo_schemas.entity import Entity, EntityType, EventData, EventType, Money, Shape, vocabulary
from unsilo_schemas.example import example
from unsilo_schemas.jsonschema import schema
from unsilo_schemas.ticket import TICKET, Ticket

EACH_KIND = pytest.mark.parametrize("kind", ENTITY_TYPES, ids=lambda kind: f"{kind.domain}.{kind.name}")
EACH_EVENT = pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=EVENT_TYPES)


def least(kind: EntityType) -> dict[str, Any]:
    """An entity of which the source told nothing but that it is there."""
    whole = example(kind[kind.verbs[0]])["entity"]
    return {name: whole[name] for name, field in kind.model.model_fields.items() if field.is_required()}


def dumped(entity: Entity, kind: EntityType) -> dict[str, Any]:
    """An entity as its event carries it over the wire."""
    text = kind[kind.verbs[0]].data(entity=entity, changed=[], complete=True).model_dump_json(exclude_unset=True)
    found = json.loads(text)["entity"]
    assert isinstance(found, dict)
    return found


def shapes(model: type[BaseModel] = Shape) -> Iterator[type[BaseModel]]:
    for shape in model.__subclasses__():
        yield shape
        yield from shapes(shape)


@pytest.mark.parametrize(
    "sent",
    [{}, {"title": None}, {"title": ""}, {"assignees": None}, {"assignees": []}, {"custom": None}, {"custom": {}}],
    ids=str,
)
def test_absent_null_and_empty_stay_three_things(sent: dict[str, Any]) -> None:
    entity = Ticket.model_validate({**least(TICKET), **sent})
    assert dumped(entity, TICKET) == {**least(TICKET), **sent}


def test_null_and_absent_stay_apart_inside_a_part_of_an_entity() -> None:
    sent = {**least(TICKET), "status": {"category": None, "raw": "?"}, "account": {"id": "a", "remote_id": "7"}}
    assert dumped(Ticket.model_validate(sent), TICKET) == sent


@pytest.mark.parametrize("previous", [..., None, {}, {"/title": None}])
def test_previous_values_that_are_null_absent_or_none_stay_apart(previous: Any) -> None:
    told = {} if previous is ... else {"previous": previous}
    data = TICKET["updated"].data.model_validate({"entity": least(TICKET), "changed": [], "complete": True, **told})
    assert json.loads(data.model_dump_json(exclude_unset=True)).get("previous", ...) == previous


@EACH_KIND
@given(choice=st.data())
def test_an_entity_carries_the_fields_it_was_given_and_no_other(kind: EntityType, choice: st.DataObject) -> None:
    optional = [name for name, field in kind.model.model_fields.items() if not field.is_required()]
    sent = {**least(kind), **dict.fromkeys(choice.draw(st.lists(st.sampled_from(optional), unique=True)))}
    entity = kind.model.model_validate(sent)
    assert dumped(entity, kind) == sent
    assert kind.model.model_validate_json(json.dumps(sent)).model_fields_set == entity.model_fields_set


@pytest.mark.parametrize("shape", [*shapes(), EventData], ids=lambda shape: shape.__name__)
def test_refuses_a_field_that_it_does_not_know(shape: type[BaseModel]) -> None:
    with pytest.raises(ValidationError) as refused:
        shape.model_validate({"misspelt": 1})
    assert [fault["loc"] for fault in refused.value.errors() if fault["type"] == "extra_forbidden"] == [("misspelt",)]


@EACH_KIND
def test_an_entity_has_a_reference_to_where_it_lives(kind: EntityType) -> None:
    with pytest.raises(ValidationError, match="refs"):
        kind.model.model_validate({**least(kind), "refs": []})


@EACH_KIND
def test_the_key_of_an_entity_is_a_field_that_it_must_have(kind: EntityType) -> None:
    field = kind.model.model_fields[kind.key]
    assert field.is_required()
    assert field.annotation is str


@EACH_KIND
def test_every_field_that_no_key_needs_is_optional(kind: EntityType) -> None:
    """A source sends what it has: only what makes an id or a key of the entity may be demanded."""
    optional = {name: field for name, field in kind.model.model_fields.items() if not field.is_required()}
    assert all(field.default is None for field in optional.values())
    if kind.domain != "link":  # which the hub itself asserts, and knows all about
        assert set(kind.model.model_fields) - set(optional) <= {"id", "refs", kind.key, "target"}


@EACH_KIND
def test_the_verbs_of_an_entity_are_words_of_their_own(kind: EntityType) -> None:
    assert kind.verbs
    assert len(set(kind.verbs)) == len(kind.verbs)
    assert all(re.fullmatch("[a-z0-9_]+", verb) for verb in kind.verbs)
    assert list(kind.events) == list(kind.verbs)


@EACH_KIND
def test_an_entity_has_no_event_for_a_verb_that_it_does_not_have(kind: EntityType) -> None:
    assert kind[kind.verbs[0]].verb == kind.verbs[0]
    with pytest.raises(KeyError):
        kind["exploded"]


@EACH_EVENT
def test_an_event_is_named_by_domain_entity_verb_and_major_version(event: EventType) -> None:
    kind = event.entity_type
    assert re.fullmatch(r"unsilo(\.[a-z0-9_]+){3}\.v[1-9][0-9]*", event.name)
    assert event.name == ".".join(["unsilo", kind.domain, kind.name, event.verb, f"v{kind.version}"])


@pytest.mark.parametrize(
    "name",
    [
        "unsilo.crm.opportunity.stage_changed.v1",
        "unsilo.hr.employee.manager_changed.v1",
        "unsilo.social.reply.published.v1",
        "unsilo.ticket.comment.visibility_changed.v1",
    ],
)
def test_knows_the_events_that_the_model_describes(name: str) -> None:
    assert EVENT_TYPES[name].name == name


def test_no_two_events_share_a_name() -> None:
    assert len(EVENT_TYPES) == sum(len(kind.verbs) for kind in ENTITY_TYPES)


@EACH_EVENT
def test_an_event_serialises_the_fields_that_only_its_own_entity_has(event: EventType) -> None:
    kind = event.entity_type
    own = {name: None for name in kind.model.model_fields if name not in Entity.model_fields}
    entity = kind.model.model_validate({**own, **least(kind)})
    data = event.data(entity=entity, changed=["/x"], complete=False)
    assert own
    assert set(json.loads(data.model_dump_json(exclude_unset=True))["entity"]) == {"id", "refs", *own}
    assert set(data.model_dump(mode="json", exclude_unset=True)["entity"]) == {"id", "refs", *own}


@EACH_EVENT
def test_an_event_refuses_the_entity_of_another(event: EventType) -> None:
    other = next(kind for kind in ENTITY_TYPES if not issubclass(kind.model, event.entity_type.model))
    with pytest.raises(ValidationError):
        event.data(entity=other.model.model_validate(least(other)), changed=[], complete=True)


@pytest.mark.parametrize("amount", ["12.50", "-3", "0.1"])
def test_money_is_decimal_text(amount: str) -> None:
    assert Money(amount=amount, currency=None).amount == amount


@pytest.mark.parametrize("amount", [12.5, 12, "12,50", "1e3", "", "+1", ".5", "12.50\n", "NaN"])
def test_money_is_nothing_but_decimal_text(amount: Any) -> None:
    with pytest.raises(ValidationError):
        Money(amount=amount, currency=None)


def test_the_words_of_a_field_are_declared_once_and_published_as_examples_that_leave_room_for_others() -> None:
    words = vocabulary(Ticket)["priority"]
    assert "urgent" in words
    category = schema(TICKET["created"])["$defs"]["TicketPriority"]["properties"]["category"]
    assert category["examples"] == words
    assert {"type": "string"} in category["anyOf"]


def test_a_verb_that_an_entity_does_not_have_is_answered_with_those_it_has() -> None:
    with pytest.raises(KeyError, match=r"ticket\.ticket has no verb 'opened': there are created, updated, "):
        TICKET["opened"]
