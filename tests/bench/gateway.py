"""Requests a second of one gateway process: signed bodies of about 1 KB, each answered after acks=all.

Method: so many kept-open connections send their next request as soon as the last is answered; the load comes from this
machine, which broker, gateway and load share. Verified, keyed, masked and stored as in production.
"""

import socket
from typing import Any

from deliveries import deliveries
from hub import Hub
from load import flat_out, percentile, requests
from processes import cpu_seconds, peak_mebibytes, wait_for

_CONNECTIONS = 64
_WARM_UP = 5_000


def measure(hub: Hub, count: int) -> dict[str, Any]:
    """Starts one gateway and sends so many deliveries of Zendesk's, after some to warm up."""
    port = free_port()
    gateway = hub.start("gateway", UNSILO_GATEWAY_PORT=str(port))
    try:
        wait_for("the gateway", lambda: ready(port), 60)
        waiting = requests(hub, deliveries(count + _WARM_UP, only="helpdesk"))
        flat_out(port, waiting, _WARM_UP, _CONNECTIONS)
        cpu = cpu_seconds(gateway.pid)
        answers = flat_out(port, waiting, count, _CONNECTIONS)
        spent, memory = cpu_seconds(gateway.pid) - cpu, peak_mebibytes(gateway.pid)
    finally:
        gateway.stop()
    return {
        "requests": len(answers.latencies),
        "requests_per_second": round(len(answers.latencies) / answers.seconds),
        "p50_ms": percentile(answers.latencies, 0.5),
        "p99_ms": percentile(answers.latencies, 0.99),
        "cpu_seconds_per_million": round(spent / count * 1e6, 1),
        "peak_memory_mib": round(memory),
        "not_stored": answers.others,
    }


def ready(port: int) -> bool:
    """Whether a gateway answers that it can store deliveries."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as wire:
            wire.sendall(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            return wire.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
