"""The gateway's HTTP alone: how many may speak it, for how long, and what becomes of who says no more."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from prometheus_client import REGISTRY
from unsilo_services.gateway import http
from unsilo_services.gateway.lines import Lines
from uvicorn.middleware.proxy_headers import _TrustedHosts

from tests.services.running import eventually

UNFINISHED = b"POST / HTTP/1.1\r\nhost: hub\r\ncontent-length: 1000000\r\n\r\n"
FINISHED = b"POST / HTTP/1.1\r\nhost: hub\r\ncontent-length: 3\r\n\r\nabc"


async def answers_at_once(scope: Any, receive: Any, send: Any) -> None:
    """Reads nothing of the body, as where there is no such path."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def answers_later(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, and takes its time."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.3)
    await answers_at_once(scope, receive, send)


class Watched(http.BoundedHttp):
    """Notes how many requests it ever kept behind one that was not answered."""

    most_kept = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        Watched.most_kept = max(Watched.most_kept, len(self.pipeline))


@contextmanager
def serving(app: Any, protocol: type[http.BoundedHttp], limits: Lines | None = None) -> Iterator[Any]:
    """The address of a server that would keep an idle connection for an hour."""

    class Served(protocol):  # type: ignore[misc, valid-type]  # mypy takes no base that it cannot name
        lines = limits or Lines(100, 100)

    config = uvicorn.Config(app, http=Served, lifespan="off", log_config=None, timeout_keep_alive=3600)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a server that is impatient soon."""
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(Watched, "most_kept", 0)
    with serving(answers_at_once, Watched) as address, socket.create_connection(address, 30) as found:
        found.settimeout(0.02)
        yield found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The address of a server that takes longer for an answer than it waits for a head."""
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.1)
    with serving(answers_later, http.BoundedHttp) as address:
        yield address


def hung_up_on(line: socket.socket, sent: bytes) -> bool:
    """Whether the server closed the connection, which more is sent on."""
    try:
        line.sendall(sent)
        return line.recv(65536) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_whoever_is_answered_cannot_go_on_with_the_request_for_ever(line: socket.socket) -> None:
    line.sendall(UNFINISHED)
    eventually(lambda: hung_up_on(line, b"x"), "the end of the connection", 5)


def test_a_head_that_drips_in_is_not_waited_for(line: socket.socket) -> None:
    line.sendall(b"POST / HTTP/1.1\r\nx-endless: ")
    eventually(lambda: hung_up_on(line, b"x"), "the end of the connection", 5)


def test_whoever_ends_an_answered_request_in_time_may_send_another(line: socket.socket) -> None:
    line.sendall(UNFINISHED + b"x" * 1_000_000)
    line.settimeout(1)
    assert b"404" in line.recv(65536)
    with pytest.raises(TimeoutError):
        line.recv(65536)  # empty if it were closed
    line.sendall(FINISHED)
    assert b"404" in line.recv(65536)


def test_as_many_requests_as_are_kept_are_all_answered(line: socket.socket) -> None:
    line.settimeout(5)
    line.sendall(FINISHED * (1 + http.MOST_PIPELINED))
    answered = b""
    while answered.count(b"404") < 1 + http.MOST_PIPELINED:
        answered += line.recv(65536)
    assert Watched.most_kept == http.MOST_PIPELINED


def test_more_requests_than_are_kept_end_the_connection_however_many_came_at_once(line: socket.socket) -> None:
    line.sendall(FINISHED * 1000)
    eventually(lambda: hung_up_on(line, b""), "the end of the connection", 5)
    assert Watched.most_kept == http.MOST_PIPELINED + 1


@pytest.mark.parametrize("behind", [b"", b"POST / HT"], ids=["all said", "another begun"])
def test_whoever_says_no_more_is_still_answered(slow: Any, behind: bytes) -> None:
    answer = all_that_is_said_to(slow, FINISHED + behind)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answer


def test_whoever_says_no_more_is_answered_all_that_they_asked(slow: Any) -> None:
    assert all_that_is_said_to(slow, FINISHED * 3).count(b"HTTP/1.1 404") == 3


@pytest.mark.parametrize("said", [b"", b"POST / HT", UNFINISHED + b"x"], ids=["nothing", "head", "body"])
def test_whoever_says_no_more_before_a_request_is_complete_is_hung_up_on(
    slow: Any, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 3600)
    assert all_that_is_said_to(slow, said) == b""


def test_whoever_says_no_more_after_their_answer_is_hung_up_on(slow: Any) -> None:
    with socket.create_connection(slow, 5) as line:
        line.sendall(FINISHED)
        assert b"404" in line.recv(65536)
        line.shutdown(socket.SHUT_WR)
        assert line.recv(65536) == b""


def all_that_is_said_to(address: Any, said: bytes) -> bytes:
    """What comes, until the end of the connection, for a sender that ends its own side at once."""
    with socket.create_connection(address, 5) as line:
        line.sendall(said)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65536), b""))


def test_one_address_has_no_more_lines_than_it_may_and_takes_none_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 3600)
    with serving(answers_at_once, http.BoundedHttp, Lines(100, 3)) as address, ExitStack() as ours:
        before = turned_away()
        crowd = [ours.enter_context(held(address, "127.0.0.2", b"POST / HT")) for _ in range(10)]
        eventually(lambda: turned_away() == before + 7, "seven to be turned away", 5)
        assert [is_open(each) for each in crowd] == [True] * 3 + [False] * 7
        assert b"404" in said_to(address, "127.0.0.3", FINISHED)
        crowd[0].close()
        eventually(lambda: b"404" in said_to(address, "127.0.0.2", FINISHED), "the place that became free", 5)
        eventually(lambda: b"404" in said_to(address, "127.0.0.2", FINISHED), "the same place once more", 5)


@pytest.mark.parametrize("waiting", [b"", b"POST / HT", UNFINISHED, FINISHED], ids=["new", "head", "body", "idle"])
def test_whoever_waits_for_nothing_makes_way_for_the_next_in_the_order_in_which_they_came(
    monkeypatch: pytest.MonkeyPatch, waiting: bytes
) -> None:
    monkeypatch.setattr(http, "HEAD_SECONDS", 3600)
    with serving(answers_at_once, http.BoundedHttp, Lines(5, 100)) as address, ExitStack() as ours:
        before = turned_away()
        crowd = [ours.enter_context(held(address, "127.0.0.2", waiting)) for _ in range(12)]
        eventually(lambda: turned_away() == before + 7, "seven to be turned away", 5)
        eventually(lambda: [is_open(each) for each in crowd] == [False] * 7 + [True] * 5, "the last five to stay", 5)
        assert b"404" in said_to(address, "127.0.0.2", FINISHED)


def test_whoever_waits_for_an_answer_makes_way_for_nobody() -> None:
    with serving(answers_later, http.BoundedHttp, Lines(3, 100)) as address, ExitStack() as ours:
        before = turned_away()
        asked = [ours.enter_context(held(address, "127.0.0.2", FINISHED)) for _ in range(3)]
        late = ours.enter_context(held(address, "127.0.0.2", b""))
        assert late.recv(1) == b""
        assert turned_away() == before + 1
        assert all(b"404" in each.recv(65536) for each in asked)


def test_proxies_that_are_trusted_have_as_many_lines_as_there_are() -> None:
    limits = Lines(100, 3, _TrustedHosts("127.0.0.2, 127.5.0.0/16").__contains__)
    with serving(answers_at_once, http.BoundedHttp, limits) as address, ExitStack() as ours:
        for proxy in ("127.0.0.2", "127.5.6.7"):
            proxys = [ours.enter_context(held(address, proxy, b"POST / HT")) for _ in range(10)]
            assert b"404" in said_to(address, proxy, FINISHED)
            assert all(is_open(each) for each in proxys)


class Parting(http.BoundedHttp):
    """Says something at its end."""

    words = b"last words"

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.words)
        self.hang_up()


class Endless(Parting):
    """Says more than the network holds."""

    words = bytes(64 * 1024 * 1024)


@pytest.mark.parametrize("protocol", [Parting, Endless])
def test_whoever_makes_way_is_told_what_was_said_already_and_not_waited_for(protocol: type[Parting]) -> None:
    with serving(answers_at_once, protocol) as address, held(address, "127.0.0.2", b"x") as line:
        time.sleep(0.1)  # reads nothing meanwhile
        received = b"".join(iter(lambda: line.recv(1 << 20), b""))
    assert (received == protocol.words) == (protocol is Parting)


@contextmanager
def held(address: Any, sender: str, said: bytes) -> Iterator[socket.socket]:
    """A line on which this was said, and that its sender keeps open."""
    with socket.create_connection(address, 5, (sender, 0)) as line:
        with suppress(ConnectionError):
            line.sendall(said)
        time.sleep(0.01)  # one comes after the other
        yield line


def is_open(line: socket.socket) -> bool:
    """Whether the server keeps it, whatever it said on it."""
    line.settimeout(0.02)
    try:
        while line.recv(65536):
            pass
    except TimeoutError:
        return True
    except ConnectionError:
        pass
    return False


def said_to(address: Any, sender: str, said: bytes) -> bytes:
    """What comes first on a line of its own."""
    with suppress(ConnectionError), held(address, sender, said) as line:
        return line.recv(65536)
    return b""


def turned_away() -> float:
    labels = {"connection": "unknown", "outcome": "turned_away"}
    return REGISTRY.get_sample_value("unsilo_gateway_requests_total", labels) or 0.0
