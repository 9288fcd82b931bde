"""Who may have a network connection to the gateway: the decision alone."""

import logging
import resource

import pytest
from unsilo_services.gateway.lines import Lines, most_files, most_lines


class Idle:
    """Waits for nothing."""

    waiting = False

    def __init__(self) -> None:
        self.hung_up = False

    def waits_for_us(self) -> bool:
        return self.waiting

    def hang_up(self) -> None:
        self.hung_up = True


class Asking(Idle):
    """Waits for its answer."""

    waiting = True


def test_counts_a_whole_ipv6_network_as_one_address() -> None:
    lines = Lines(100, 2)
    admitted = [lines.admit(Idle(), f"2001:db8:1:2::{number:x}", 0) for number in range(4)]
    assert admitted == [True, True, False, False]
    assert lines.admit(Idle(), "2001:db8:1:3::1", 0)
    assert [lines.admit(Idle(), each, 0) for each in ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1")][1:] == [
        True,
        False,
    ]


def test_forgets_whoever_is_gone_and_nobody_twice() -> None:
    lines = Lines(100, 1)
    first, second = Idle(), Idle()
    assert lines.admit(first, "192.0.2.1", 0)
    assert not lines.admit(second, "192.0.2.1", 0)
    lines.forget(second)  # its end is told too
    assert not lines.admit(Idle(), "192.0.2.1", 0)
    lines.forget(first)
    lines.forget(first)
    assert lines.admit(second, "192.0.2.1", 0)
    assert not lines.admit(Idle(), "192.0.2.1", 0)


def test_whoever_makes_way_is_hung_up_on_and_counted_no_more() -> None:
    lines = Lines(2, 2)
    asking, oldest, newest = Asking(), Idle(), Idle()
    assert lines.admit(asking, "192.0.2.1", 0)
    assert lines.admit(oldest, "192.0.2.1", 0)
    assert lines.admit(newest, "192.0.2.2", 0)
    assert (asking.hung_up, oldest.hung_up, newest.hung_up) == (False, True, False)
    lines.forget(oldest)
    assert lines.admit(Idle(), "192.0.2.1", 0)
    assert newest.hung_up


def test_looks_at_a_few_only_for_one_that_makes_way_and_at_others_the_next_time() -> None:
    lines = Lines(21, 100)
    asking = [Asking() for _ in range(20)]
    for each in asking:
        assert lines.admit(each, "192.0.2.1", 0)
    idle = Idle()
    assert lines.admit(idle, "192.0.2.1", 0)
    seen = [(lines.admit(Idle(), "192.0.2.2", 0), idle.hung_up) for _ in range(2)]
    assert seen == [(False, False), (True, True)]
    assert not any(each.hung_up for each in asking)


def test_says_once_a_minute_whom_it_turned_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "unsilo_services.gateway.lines")
    lines = Lines(100, 1)
    assert lines.admit(Idle(), "192.0.2.1", 1000.0)
    for second in range(0, 100, 10):
        assert not lines.admit(Idle(), "192.0.2.1", 1000.0 + second)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "closed at once: 1; the last because 192.0.2.1 has 1 open" in said[0]
    assert "closed at once: 6; " in said[1]


@pytest.mark.parametrize(
    ("files", "lines"),
    [(256, 128), (1024, 768), (20_000, 16_384), (1_048_576, 16_384), (resource.RLIM_INFINITY, 16_384)],
)
def test_leaves_room_for_other_files(files: int, lines: int) -> None:
    assert most_lines(files) == lines


def test_takes_as_many_files_as_the_system_grants() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert most_files() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
