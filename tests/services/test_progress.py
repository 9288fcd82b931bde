"""How far a partition is, against a model that remembers everything: what is done, what is held, what comes again."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unsilo_services.progress import METADATA_BYTES, Progress

STEPS = st.lists(st.tuples(st.sampled_from(["done", "held", "finished"]), st.integers(0, 9)), max_size=200)
START = st.sampled_from([0, 1, 7, 2**40])


class Model:
    """One partition the long way: what became of each offset."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.done: set[int] = set()
        self.held: set[int] = set()
        self.next = start

    def step(self, kind: str, pick: int) -> tuple[str, int] | None:
        """Records are looked at in their order; those that are held are finished in any."""
        if kind == "finished":
            if not self.held:
                return None
            offset = sorted(self.held)[pick % len(self.held)]
            self.held.remove(offset)
            self.done.add(offset)
            return kind, offset
        offset = self.next + pick // 5  # compaction and control records leave holes
        self.next = offset + 1
        (self.done if kind == "done" else self.held).add(offset)
        return kind, offset


def worked(start: int, steps: list[tuple[str, int]]) -> tuple[Progress, Model]:
    progress, model = Progress(start), Model(start)
    for kind, pick in steps:
        taken = model.step(kind, pick)
        if taken is not None:
            progress.hold(taken[1]) if taken[0] == "held" else progress.finish(taken[1])
    return progress, model


@given(START, STEPS)
def test_comes_back_from_what_was_committed_as_it_was(start: int, steps: list[tuple[str, int]]) -> None:
    progress, _ = worked(start, steps)
    assert Progress.parse(progress.offset, progress.metadata) == progress


@given(START, STEPS)
def test_commits_the_first_unfinished_record(start: int, steps: list[tuple[str, int]]) -> None:
    progress, model = worked(start, steps)
    assert progress.offset == min(model.held, default=model.next)


@given(START, STEPS)
def test_after_a_restart_wants_what_is_unfinished_and_nothing_else(start: int, steps: list[tuple[str, int]]) -> None:
    progress, model = worked(start, steps)
    again = Progress.parse(progress.offset, progress.metadata)
    seen_again = range(again.offset, model.next + 3)
    assert {offset for offset in seen_again if again.wants(offset)} & model.done == set()
    assert {offset for offset in seen_again if again.wants(offset)} >= model.held
    assert again.wants(model.next)
    assert min(model.held, default=model.next) >= again.offset


@given(START, STEPS, st.integers(0, 20))
def test_a_record_that_is_seen_again_changes_nothing_that_is_known_of_others(
    start: int, steps: list[tuple[str, int]], back: int
) -> None:
    progress, model = worked(start, steps)
    before = (progress.next, set(progress.held))
    offset = max(start, model.next - 1 - back)
    if offset < model.next and offset not in model.held:
        progress.finish(offset)
        assert (progress.next, progress.held) == before


@given(st.integers(-1001, -1), st.text() | st.none())
def test_begins_at_the_beginning_where_nothing_was_committed(offset: int, metadata: str | None) -> None:
    assert Progress.parse(offset, metadata) == Progress(0)


@given(st.integers(0, 2**50), st.text() | st.from_regex(r"[-0-9*,]{0,40}", fullmatch=True))
def test_takes_foreign_metadata_for_none_and_never_leaves_a_record_out(offset: int, metadata: str) -> None:
    found = Progress.parse(offset, metadata)
    assert found.offset == offset
    assert found.wants(offset)
    assert len(found.held) <= 1_000_000


@pytest.mark.parametrize(
    "metadata", ["-1", "1,-3", "0", "1*0", "1*-1", "1*99999999", ",".join(["1*9999"] * 300), "1,,1"]
)
def test_metadata_that_no_progress_writes_counts_as_none(metadata: str) -> None:
    assert Progress.parse(5, metadata) == Progress(5)


def test_all_that_waits_for_a_dead_remote_takes_a_few_bytes() -> None:
    progress = Progress()
    for offset in range(500_000):
        progress.hold(offset)
    assert len(progress.metadata) < 20
    assert Progress.parse(progress.offset, progress.metadata) == progress


@pytest.mark.parametrize("seed", range(5))
def test_what_is_committed_fits_whatever_is_held_and_leaves_nothing_out(seed: int) -> None:
    progress = Progress()
    held = sorted(random.Random(seed).sample(range(200_000), 20_000))
    for offset in held:
        progress.hold(offset)
    progress.take(200_001)
    assert METADATA_BYTES - 100 < len(progress.metadata.encode()) <= METADATA_BYTES
    again = Progress.parse(progress.offset, progress.metadata)
    assert all(again.wants(offset) for offset in held)
    assert not any(again.wants(offset) for offset in set(range(held[0], held[1000])) - set(held))
