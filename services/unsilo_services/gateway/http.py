"""uvicorn's HTTP, with an end to how many speak it, how much comes beside a body, and how long that may take."""

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, ClassVar

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..metrics import REQUESTS
from .answers import BROKEN_HTTP, HEAD_TOO_LARGE, PROBLEM_TYPE, UNKNOWN, Problem
from .lines import Lines

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
MOST_PIPELINED = 16  # requests behind one that is not answered yet; no vendor's client sends a second one
_NO_HEADERS: deque[tuple[bytes, bytes]] = deque(maxlen=0)


class BoundedHttp(HttpToolsProtocol):
    """The parser itself keeps whatever comes until a line is complete, and uvicorn every header; both without end.

    Whatever comes beside a body is counted alike: the head, and behind it trailers and what chunks say of themselves.
    """

    lines: ClassVar[Lines]
    """Those of the process, which a subclass names."""

    _in_head = True
    _bytes_beside_body = 0
    _impatience: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = _Parser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        if self.lines.admit(self, self.client[0] if self.client else UNKNOWN, self.loop.time()):
            self._grow_impatient()
        else:
            self.hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm_down()
        self.lines.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._grow_impatient()
        self._bytes_beside_body += len(data)
        super().data_received(data)
        if self._bytes_beside_body > HEAD_BYTES and not self.transport.is_closing():
            if self._in_head:
                self._refuse(HEAD_TOO_LARGE, "head_too_large")
            else:  # it may be answered already
                self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio declares it
        """Whoever says no more may still wait for the answer to what they said; whether there is one to wait for.

        Of requests that came at once it is the last answer after which the connection is closed.
        """
        if not self._in_full():
            return False
        self._calm_down()
        self.cycle.keep_alive = False
        return True

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._calm_down()
        self._in_head, self._bytes_beside_body = False, 0
        if self.transport.is_closing():  # the rest of what came at once
            return
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            self.transport.close()  # uvicorn reads on after each answer, however many requests it has not begun with
        self.headers = _NO_HEADERS  # type: ignore[assignment]  # trailers are no headers (RFC 9110 6.5.1): kept nowhere

    def on_body(self, body: bytes) -> None:
        self._bytes_beside_body = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._calm_down()
        self._in_head, self._bytes_beside_body = True, 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def begin_again(self, rest: bytes) -> None:
        """Reads a request once more whose head asked for another protocol, as if it had not: that is ours to choose.

        RFC 9110 section 7.8. `rest` is what came behind the head. CONNECT asks for nothing but that, and is refused.
        """
        if self.transport.is_closing():
            return
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(BROKEN_HTTP, "framing_broken")
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*lines, b"", rest]))

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is no HTTP."""
        self._refuse(BROKEN_HTTP, "framing_broken")

    def _refuse(self, problem: Problem, outcome: str) -> None:
        """Answers what never becomes a request, and closes the connection."""
        head = (
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
            f"content-type: {PROBLEM_TYPE}\r\ncontent-length: {len(problem.body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + problem.body)
        self.transport.close()
        REQUESTS.labels(UNKNOWN, outcome).inc()

    def on_response_complete(self) -> None:
        """What is still to come of an answered request may come, or its sender could not read the answer; not for ever.

        uvicorn's own patience begins anew with every byte.
        """
        if self.cycle.response_complete and self.cycle.more_body:
            self._grow_impatient()
        super().on_response_complete()

    def waits_for_us(self) -> bool:
        """Not so whoever does not read the answers that they have."""
        return (bool(self.pipeline) or self._in_full()) and not self.flow.write_paused

    def hang_up(self) -> None:
        """What was written before goes out, but for what the sender is slow to take."""
        self.transport.abort()

    def _in_full(self) -> bool:
        """Whether the last request that was begun is complete, and not answered yet."""
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _grow_impatient(self) -> None:
        if self._impatience is None:
            self._impatience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _calm_down(self) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class _Parser(HttpRequestParser):
    """uvicorn's parser, with an end for requests that ask for another protocol.

    What follows the head of such a one it takes for that protocol's, even an announced body, which would be lost
    (MagicStack/httptools#124).
    """

    def __init__(self, protocol: BoundedHttp) -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._protocol = protocol

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn feeds bytes
        try:
            super().feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._protocol.begin_again(data[upgrade.args[0] :])


def head_bytes(scope_headers: Any) -> int:
    """The size of a request's headers, as ASGI hands them over."""
    return sum(len(name) + len(value) for name, value in scope_headers)
