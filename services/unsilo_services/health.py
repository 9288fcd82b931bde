"""`/metrics`, `/health/live` and `/health/ready` of a process that serves nothing else over HTTP."""

import json
import threading
from collections.abc import Callable
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import ProxyHandler, build_opener

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_DIRECT = build_opener(ProxyHandler({}))  # what is asked is near, and no proxy of a company knows it


class HealthServer:
    """Answers from a thread of its own until the process ends. `port` says where, if a free one was asked for."""

    def __init__(self, host: str, port: int, live: Callable[[], bool], ready: Callable[[], bool]) -> None:
        checks = {"/health/live": live, "/health/ready": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
                elif self.path in checks:
                    fine = checks[self.path]()
                    self._answer(200 if fine else 503, "application/json", json.dumps({"ok": fine}).encode())
                else:
                    self._answer(
                        404, "application/json", b'{"error": "there is /metrics, /health/live, /health/ready"}'
                    )

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing: a probe every few seconds is no news."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()


def is_ready(address: str, seconds: float = 2.0) -> bool:
    """Whether a service of the hub is ready at an HTTP address: whatever else listens there answers otherwise."""
    try:
        with _DIRECT.open(f"{address}/health/ready", timeout=seconds) as answer:
            return bool(json.loads(answer.read(1000)) == {"ok": True})
    except (OSError, ValueError, HTTPException):
        return False
