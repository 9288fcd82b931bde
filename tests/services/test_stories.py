"""Loop safety as decisions: whose doing an event is, which story it belongs to, where that may still go."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unsilo_schemas.link import Story
from unsilo_services.flows.breaker import MOST_WRITES, WINDOW_SECONDS, Breaker
from unsilo_services.flows.stories import (
    CREATIONS,
    ECHO_WINDOW_MS,
    HOP_CEILING,
    PATIENCE_MS,
    Act,
    Write,
    barred,
    continued,
    judge,
    onward,
    suspected,
)

NOW = 1_760_000_000_000
BOT = "B1"
CONNECTIONS = st.sampled_from(["chat", "desk", "wall", "deals", "people"])
STORIES = st.builds(
    Story, correlationid=st.just("c"), hops=st.integers(0, 12), via=st.lists(CONNECTIONS, unique=True, max_size=5)
)
VERBS = st.sampled_from([*sorted(CREATIONS), "updated", "deleted", "status_changed", "assigned", "edited"])
FIELDS = st.lists(st.sampled_from(["/status", "/tags", "/title", "/deleted_at"]), unique=True)
ACTS = st.builds(
    Act, verb=VERBS, changed=FIELDS.map(tuple), actor=st.just(BOT), recorded_ms=st.integers(NOW - 10**6, NOW + 10**6),
    marked=st.booleans(),
)  # fmt: skip
TIMES = st.integers(NOW - 10**6, NOW + 10**6)
WRITES = st.builds(
    lambda one, other, fields, story: Write(min(one, other), max(one, other), fields, story),
    TIMES, TIMES, st.none() | FIELDS.map(frozenset), STORIES,
)  # fmt: skip


def story(*via: str, hops: int = 1) -> Story:
    return Story(correlationid="c", hops=hops, via=list(via))


def write(*fields: str, creates: bool = False, at: int = NOW, settled: int | None = None) -> Write:
    return Write(at, at if settled is None else settled, None if creates else frozenset(fields), story("desk", "chat"))


def act(verb: str = "updated", *changed: str, actor: str | None = BOT, at: int = NOW, marked: bool = False) -> Act:
    return Act(verb, changed, actor, at, marked)


@pytest.mark.parametrize(
    ("actor", "accounts", "written_to", "expected"),
    [
        (BOT, ["B1", "U1"], True, True),
        ("U1", ["B1", "U1"], True, True),
        ("U7", ["B1", "U1"], True, False),
        ("U7", [], True, False),
        ("U7", None, True, True),
        (None, ["B1"], True, True),
        (None, None, True, True),
        ("U7", None, False, False),
        (None, ["B1"], False, False),
        (BOT, ["B1"], False, True),
    ],
)
def test_our_own_account_is_suspected_and_where_nobody_can_tell_everyone(
    actor: str | None, accounts: Sequence[str] | None, written_to: bool, expected: bool
) -> None:
    assert suspected(act(actor=actor), accounts, written_to) is expected


@pytest.mark.parametrize("verb", sorted(CREATIONS))
def test_what_a_write_created_is_its_echo_however_late(verb: str) -> None:
    late = act(verb, at=NOW + 10 * PATIENCE_MS)
    assert judge(late, [write(creates=True)], late.recorded_ms, False) == "echo"


@pytest.mark.parametrize("verb", sorted(CREATIONS))
def test_a_creation_is_no_echo_of_a_change(verb: str) -> None:
    assert judge(act(verb), [write("/status")], NOW, False) == "wait"


@pytest.mark.parametrize(
    ("written", "happened", "verdict"),
    [
        (write("/status", "/tags"), act("updated", "/status"), "echo"),
        (write("/status", "/tags"), act("status_changed", "/status", "/tags"), "echo"),
        (write("/status"), act("updated", "/status", "/title"), "near_miss"),
        (write("/status"), act("updated"), "echo"),  # which says only that it was changed
        (write(creates=True), act("updated", "/title"), "echo"),
        (write("/status"), act("deleted"), "near_miss"),
        (write("/status"), act("deleted", "/deleted_at"), "near_miss"),
        (write(creates=True), act("deleted", "/deleted_at"), "near_miss"),
        (write("/deleted_at"), act("deleted"), "echo"),
    ],
)
def test_an_echo_touches_nothing_but_what_was_written(written: Write, happened: Act, verdict: str) -> None:
    assert judge(happened, [written], NOW + ECHO_WINDOW_MS, False) == verdict


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (NOW - ECHO_WINDOW_MS - 1, "near_miss"),
        (NOW - ECHO_WINDOW_MS, "echo"),
        (NOW + 60_000, "echo"),
        (NOW + 60_000 + ECHO_WINDOW_MS, "echo"),
        (NOW + 60_000 + ECHO_WINDOW_MS + 1, "near_miss"),
    ],
)
def test_a_change_is_an_echo_from_its_command_to_a_while_after_its_link(at: int, verdict: str) -> None:
    """A kill may lie between the call and the link: the echo comes long before the link then."""
    slow = write("/status", at=NOW, settled=NOW + 60_000)
    assert judge(act("updated", "/status", at=at), [slow], at + ECHO_WINDOW_MS, False) == verdict


@pytest.mark.parametrize(
    ("waited", "unsettled", "marked", "verdict"),
    [
        (0, False, False, "wait"),
        (ECHO_WINDOW_MS - 1, False, False, "wait"),
        (ECHO_WINDOW_MS, False, False, "near_miss"),
        (ECHO_WINDOW_MS, True, False, "wait"),
        (PATIENCE_MS - 1, True, False, "wait"),
        (PATIENCE_MS, True, False, "near_miss"),
        (ECHO_WINDOW_MS - 1, False, True, "wait"),
        (ECHO_WINDOW_MS, False, True, "echo"),
        (PATIENCE_MS, True, True, "echo"),
    ],
)
def test_a_link_is_waited_for_a_while_and_longer_while_commands_are_under_way(
    waited: int, unsettled: bool, marked: bool, verdict: str
) -> None:
    assert judge(act("published", marked=marked), [], NOW + waited, unsettled) == verdict


@given(act=ACTS, writes=st.lists(WRITES, max_size=4), now=TIMES, unsettled=st.booleans())
def test_waiting_ends(act: Act, writes: Sequence[Write], now: int, unsettled: bool) -> None:
    late = max(now, act.recorded_ms + PATIENCE_MS)
    assert judge(act, writes, late, unsettled) != "wait"


@given(act=ACTS, writes=st.lists(WRITES, max_size=4), now=TIMES, unsettled=st.booleans(), more=WRITES)
def test_a_link_more_never_makes_an_echo_somebody_elses_act(
    act: Act, writes: Sequence[Write], now: int, unsettled: bool, more: Write
) -> None:
    if judge(act, writes, now, unsettled) == "echo":
        assert judge(act, [*writes, more], now, unsettled) == "echo"


def test_somebody_elses_act_under_our_account_goes_on_with_the_story_of_the_last_write() -> None:
    first = Write(NOW, NOW, None, Story(correlationid="a", hops=1, via=["desk", "chat"]))
    last = Write(NOW, NOW, None, Story(correlationid="b", hops=3, via=["wall", "chat"]))
    soon = Act("updated", (), BOT, NOW + 20_000)
    assert continued(soon, [first, last], "chat") == Story(correlationid="b", hops=4, via=["wall", "chat"])
    assert continued(soon, [first, last], "deals") == Story(correlationid="b", hops=4, via=["wall", "chat", "deals"])
    assert continued(soon, [], "chat") is None


def test_what_somebody_does_under_our_account_long_after_a_write_is_a_story_of_its_own() -> None:
    write = Write(NOW, NOW, None, Story(correlationid="a", hops=1, via=["desk", "chat"]))
    day = 24 * 3600 * 1000
    assert continued(Act("updated", (), BOT, NOW + day), [write], "chat") is not None
    assert continued(Act("updated", (), BOT, NOW + day + 1), [write], "chat") is None


@given(start=CONNECTIONS, tries=st.lists(st.tuples(CONNECTIONS, st.booleans()), max_size=40))
def test_a_story_never_comes_back_and_never_goes_on_for_ever(start: str, tries: Sequence[tuple[str, bool]]) -> None:
    """Whatever flows want, and whoever answers under our account on the way."""
    found = Story(correlationid="c", hops=0, via=[start])
    written: list[str] = []
    for connection, near_miss in tries:
        if barred(found, connection) is None:
            assert connection not in (start, *written)
            before, found = found, onward(found, connection)
            assert found.hops == before.hops + 1
            assert found.via == [*before.via, connection]
            written.append(connection)
            if near_miss:
                found = continued(Act("updated", (), BOT, NOW), [Write(NOW, NOW, None, found)], connection) or found
        assert found.correlationid == "c"
        assert found.hops <= HOP_CEILING + 1
    assert len(written) <= HOP_CEILING


@given(found=STORIES, connection=CONNECTIONS)
def test_a_story_is_barred_where_it_has_been_and_at_the_ceiling_and_nowhere_else(found: Story, connection: str) -> None:
    assert (barred(found, connection) is None) == (connection not in found.via and found.hops < HOP_CEILING)


def test_the_breaker_lets_so_many_writes_on_one_object_through_in_its_window_and_others_all() -> None:
    breaker = Breaker()
    assert all(breaker.allows("ticket", "chat", 0.5) for _ in range(MOST_WRITES))
    assert not breaker.allows("ticket", "chat", WINDOW_SECONDS)
    assert breaker.allows("ticket", "desk", WINDOW_SECONDS)
    assert breaker.allows("other", "chat", WINDOW_SECONDS)
    assert breaker.allows("ticket", "chat", WINDOW_SECONDS + 0.6)


@given(times=st.lists(st.floats(0, 500), max_size=300))
def test_no_window_ever_has_more_writes_than_are_allowed(times: list[float]) -> None:
    breaker = Breaker()
    allowed = [at for at in sorted(times) if breaker.allows("ticket", "chat", at)]
    for first, last in zip(allowed, allowed[MOST_WRITES:], strict=False):
        assert last - first > WINDOW_SECONDS


def test_a_clock_that_is_set_back_makes_no_loop_of_a_write_a_minute() -> None:
    breaker = Breaker()
    assert all(breaker.allows("ticket", "chat", 3600.0) for _ in range(MOST_WRITES))
    assert all(breaker.allows("ticket", "chat", 60.0 * minute) for minute in range(50))


def test_the_breaker_remembers_a_bounded_number_of_objects() -> None:
    breaker = Breaker()
    for number in range(30_000):
        breaker.allows(str(number), "chat", 0.0)
    assert len(breaker._writes) <= 10_000
    breaker.reset()
    assert not breaker._writes
