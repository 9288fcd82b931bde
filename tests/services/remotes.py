"""Other systems for tests: the doubles on a socket, and servers that behave as no system should."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from unsilo_services.broker.local import free_ports


@dataclass(frozen=True)
class Double:
    """A double that is served."""

    url: str

    def behave(self, **how: Any) -> None:
        httpx.post(f"{self.url}/__behave", json=how, timeout=10).raise_for_status()

    def act(self, what: str, **how: Any) -> dict[str, Any]:
        """A person does something there."""
        answer = httpx.post(f"{self.url}/__act/{what}", json=how, timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def look(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=10).json()

    def arrived(self, path: str) -> list[dict[str, Any]]:
        """The calls to a path, in their order."""
        return [call for call in self.look("/__arrived") if path in call["path"]]


@contextmanager
def served(make: Callable[[str], FastAPI]) -> Iterator[Double]:
    """Serves an application, which is told its own address, on a port of its own."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    config = uvicorn.Config(
        make(url), port=port, loop="asyncio", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="double", daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Double(url)
    finally:
        server.should_exit = True
        thread.join(20)


@dataclass
class Arrival:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Mapping[str, str], bytes | Iterable[bytes]]


class Remote:
    """A server whose every answer is the test's."""

    def __init__(self, answer: Callable[[Arrival], Answer | None]) -> None:
        self.arrived: list[Arrival] = []
        self.changed = threading.Condition()
        remote = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                arrival = Arrival(self.path, {name.lower(): text for name, text in self.headers.items()}, body)
                with remote.changed:
                    remote.arrived.append(arrival)
                    remote.changed.notify_all()
                found = answer(arrival)
                self.close_connection = True  # what is kept open outlives the test
                if found is None:
                    return
                status, headers, content = found
                self.send_response(status)
                length = {"content-length": str(len(content))} if isinstance(content, bytes) else {}
                for name, text in {**length, "connection": "close", **headers}.items():
                    self.send_header(name, text)
                self.end_headers()
                try:
                    for part in [content] if isinstance(content, bytes) else content:
                        self.wfile.write(part)
                except OSError:
                    return

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="remote", daemon=True).start()

    def wait(self, count: int, seconds: float = 30) -> list[Arrival]:
        """The requests, once there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= count, seconds), f"{len(self.arrived)} of {count}"
            return list(self.arrived)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def remote(answer: Callable[[Arrival], Answer | None]) -> Iterator[Remote]:
    found = Remote(answer)
    try:
        yield found
    finally:
        found.stop()


@contextmanager
def silence() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
