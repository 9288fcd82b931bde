"""What an event's writer writes is what its model says; all else is refused, by the name of its place."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.entity import EventType
from unsilo_schemas.example import example
from unsilo_schemas.ticket import TICKET
from unsilo_schemas.writer import SchemaViolation, writer

CANARY = "canary-51fc8a"
EACH = pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=list(EVENT_TYPES))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]))
VALUES = JSON | MOMENTS | st.dates() | st.just("2026-03-02T09:14:07Z") | st.just("2026-03-02")


def places(value: Any) -> list[list[Any]]:
    """Ways to every part of a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for step, inner in steps for way in ([step], *([step, *rest] for rest in places(inner)))]


def changed(value: Any, way: list[Any], new: Any) -> Any:
    """A value with another part; an ellipsis takes it out."""
    copy = dict(value) if isinstance(value, dict) else list(value)
    step, *rest = way
    if rest:
        copy[step] = changed(copy[step], rest, new)
    elif new is ...:
        del copy[step]
    else:
        copy[step] = new
    return copy


@st.composite
def mangled(draw: st.DrawFn) -> tuple[EventType, dict[str, Any]]:
    """An event's data with a few parts of another kind, or out."""
    event = draw(st.sampled_from(list(EVENT_TYPES.values())))
    facts: dict[str, Any] = example(event)
    for _ in range(draw(st.integers(0, 4))):
        ways = places(facts)
        if ways:
            facts = changed(facts, draw(st.sampled_from(ways)), draw(st.just(...) | VALUES))
    return event, facts


@EACH
def test_an_example_is_written_as_its_model_writes_it(event: EventType) -> None:
    facts = example(event)
    assert writer(event.data).write(facts) == as_model(event, facts)


@given(mangled())
def test_what_is_written_is_what_the_model_would_write(case: tuple[EventType, dict[str, Any]]) -> None:
    event, facts = case
    try:
        written = writer(event.data).write(facts)
    except SchemaViolation:
        return
    assert json.loads(as_model(event, json.loads(written))) == json.loads(written)


def as_model(event: EventType, facts: dict[str, Any]) -> bytes:
    return event.data.model_validate(facts).model_dump_json(exclude_unset=True).encode()


@given(mangled())
def test_what_is_refused_is_refused_by_both_doors(case: tuple[EventType, dict[str, Any]]) -> None:
    event, facts = case
    try:
        writer(event.data).check(facts)
    except SchemaViolation:
        with pytest.raises(SchemaViolation):
            writer(event.data).write(facts)
    else:
        assert writer(event.data).write(facts)


def ticket(**fields: Any) -> dict[str, Any]:
    known = {"id": "i", "refs": [{"system": "s", "connection": "c", "type": "ticket", "id": "1"}]}
    return {"entity": {**known, **fields}, "changed": [], "complete": True}


def test_absent_null_and_empty_are_three_things() -> None:
    written = json.loads(writer(TICKET["created"].data).write(ticket(title=None, description="")))
    assert (written["entity"]["title"], written["entity"]["description"]) == (None, "")
    assert "number" not in written["entity"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": 5}, "entity.title: Expected `str | null`, got `int`"),
        ({"titel": "x"}, "entity: Object contains unknown field `titel`"),
        ({"refs": []}, "entity.refs: Expected `array` of length >= 1"),
        ({"refs": [{"system": "s"}]}, "entity.refs[0]: Object missing required field `connection`"),
        (
            {"due_at": datetime.fromisoformat("2026-03-02T09:14:07")},
            "entity.due_at: Expected `datetime` with a timezone component",
        ),
        ({"due_at": "soon"}, "entity.due_at: Invalid RFC3339 encoded datetime"),
        ({"reporter": {"ref": {"connection": "c", "id": "1"}, "kind": CANARY}}, "entity.reporter.kind: Not one of"),
        (
            {"reporter": {"ref": {"connection": "c", "id": "1"}, "kind": f"evil - at `$.{CANARY}"}},
            "entity.reporter.kind: Not one of its values",
        ),
        ({"status": {"category": None}}, "entity.status: Object missing required field `raw`"),
        ({"custom": {7: "x"}}, "entity.custom: Expected `str`, got `int`"),
    ],
)
def test_a_refusal_names_the_place_and_never_the_value(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SchemaViolation) as refusal:
        writer(TICKET["created"].data).write(ticket(**fields))
    assert str(refusal.value).startswith(said)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize("amount", ["12\n", "1e5", "", "1.", "12,5", "\u0663"])
def test_money_is_decimal_text_to_its_very_end(amount: str) -> None:
    deal = EVENT_TYPES["unsilo.crm.opportunity.created.v1"]
    facts = ticket(amount={"amount": amount, "currency": None})
    with pytest.raises(SchemaViolation, match=r"^entity\.amount\.amount"):
        writer(deal.data).write(facts)
    assert writer(deal.data).write(ticket(amount={"amount": "-12.50", "currency": None}))


def test_dates_and_moments_are_written_as_json_has_them() -> None:
    hired = EVENT_TYPES["unsilo.hr.employee.created.v1"]
    facts = ticket(hire_date=date(2026, 3, 2), remote_created_at=datetime(2026, 3, 2, 9, 14, 7, 120000, UTC))
    written = json.loads(writer(hired.data).write(facts))["entity"]
    assert (written["hire_date"], written["remote_created_at"]) == ("2026-03-02", "2026-03-02T09:14:07.120000Z")


def test_a_constraint_that_msgspec_is_not_told_of_is_a_fault_of_ours() -> None:
    class Rated(BaseModel):
        stars: list[Annotated[int, Field(multiple_of=2)]] | None = None

    with pytest.raises(TypeError, match="no counterpart"):
        writer(Rated)


@pytest.mark.parametrize("given", [{"one": "y"}, {"many": ["x", "y"]}, {"named": {"a": "y"}}])
def test_a_constraint_holds_at_any_depth(given: dict[str, Any]) -> None:
    class Strict(BaseModel):
        one: Annotated[str, Field(pattern="^x$")] | None = None
        many: list[Annotated[str, Field(pattern="^x$")]] | None = None
        named: dict[str, Annotated[str, Field(pattern="^x$")]] | None = None

    assert writer(Strict).write({"one": "x", "many": ["x"], "named": {"a": "x"}})
    with pytest.raises(SchemaViolation):
        writer(Strict).write(given)
