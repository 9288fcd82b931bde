"""Ids are derived, so the derivation may never change: every id that was ever published would change with it."""

import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unsilo_schemas.identity import entity_id, event_id

parts = st.text(st.characters(codec="utf-8", exclude_characters="\x1e\x1f"))
confusable = st.sampled_from(["", "a", "b", "aa", "ab", "a/b", "a:b", "\x00", "\x1e", "\n"])


@pytest.mark.parametrize(
    ("connection", "remote_type", "remote_id", "scope", "id"),
    [
        ("helpdesk", "ticket", "42", "", "46a20fe7-3da0-5756-9087-0d9e370fc082"),
        ("chat", "message", "1772442847.000200", "C024BE91L", "744708a1-be1d-5ca5-af61-be579462c7da"),
        ("crm", "deal", "Zoë/ü 🙂", "", "c3498100-d83b-5843-a355-759e9d68ca84"),
    ],
)
def test_an_entity_has_the_id_it_always_had(
    connection: str, remote_type: str, remote_id: str, scope: str, id: str
) -> None:
    assert entity_id(connection, remote_type, remote_id, scope) == id


@pytest.mark.parametrize(
    ("connection", "event_key", "id"),
    [
        ("helpdesk", "ticket.created:42:2026-03-02T09:14:07Z", "9fbad280-d9ca-5b16-ad0a-cf4ad3aef576"),
        ("chat", "Ev024BE91L", "3dfb1b70-1fb3-5a66-af68-85767fe5fa01"),
    ],
)
def test_an_event_has_the_id_it_always_had(connection: str, event_key: str, id: str) -> None:
    assert event_id(connection, event_key) == id


@given(parts, parts, parts, parts)
def test_an_entity_id_can_be_derived_without_this_package(connection: str, kind: str, id: str, scope: str) -> None:
    """UUIDv5 as RFC 9562 has it, so that a consumer in another language finds the same entity."""
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:entity")
    by_hand = uuid.uuid5(namespace, f"{connection}\x1f{scope}\x1f{kind}\x1f{id}")
    assert entity_id(connection, kind, id, scope) == str(by_hand)


@given(parts, parts)
def test_an_event_id_can_be_derived_without_this_package(connection: str, key: str) -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, "urn:unsilo:event")
    assert event_id(connection, key) == str(uuid.uuid5(namespace, f"{connection}\x1f{key}"))


@given(st.lists(confusable, min_size=4, max_size=4), st.lists(confusable, min_size=4, max_size=4))
def test_parts_of_an_entity_id_that_differ_make_another_id(one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert entity_id(*one) != entity_id(*other)


@given(st.lists(parts, min_size=4, max_size=4), st.permutations(range(4)))
def test_parts_of_an_entity_id_cannot_run_into_each_other(one: list[str], order: list[int]) -> None:
    giver, taker = order[:2]
    assume(one[giver])
    for given_away in (one[giver][0], one[giver][-1]):
        other = list(one)
        other[giver] = one[giver].replace(given_away, "", 1)
        for moved in (given_away + one[taker], one[taker] + given_away):
            other[taker] = moved
            assert entity_id(*other) != entity_id(*one)


def test_a_sender_who_writes_the_separator_cannot_forge_another_entitys_id() -> None:
    """JSON escapes U+001F, and every parser takes the escape away again."""
    assert entity_id("c", "t", "b", scope="a\x1ft") != entity_id("c", "t", "t\x1fb", scope="a")


@given(parts, st.text(), parts, st.text())
def test_parts_of_an_event_id_cannot_run_into_each_other(
    connection: str, key: str, other_connection: str, other_key: str
) -> None:
    assume((connection, key) != (other_connection, other_key))
    assert event_id(connection, key) != event_id(other_connection, other_key)
    moved = key[:1].strip("\x1f")  # which no connection's name can hold
    assert not moved or event_id(connection, key) != event_id(connection + moved, key[1:])


def test_an_entity_and_an_event_never_share_an_id() -> None:
    assert entity_id("c", "", "key") != event_id("c", "\x1f\x1fkey")
