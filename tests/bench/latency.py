"""From the request to the event: milliseconds between a delivery's sending and a read_committed reader's having it.

Method: deliveries go in over HTTP at a steady rate, gateway and normalizer run as they do in production, one reader
waits on the event topic. Counted from when a request was due, so that a stall is not hidden by what it delays; the
first tenth is not counted.
"""

import asyncio
import json
import multiprocessing
import time
from typing import Any

from deliveries import deliveries
from gateway import free_port, ready
from hub import Hub
from load import percentile, requests, steady
from processes import wait_for
from unsilo_schemas.identity import event_id
from unsilo_services.kafka import OFFSET_END, TopicPartition, header_of

_PER_SECOND = 500
_CONNECTIONS = 32


def measure(hub: Hub, seconds: int) -> dict[str, Any]:
    """Sends Zendesk's deliveries at 500 a second for so long."""
    port = free_port()
    services = [hub.start("gateway", UNSILO_GATEWAY_PORT=str(port)), hub.start("normalizer")]
    count = _PER_SECOND * seconds
    numbers = {
        event_id("helpdesk", json.loads(delivery.body)["id"]): number
        for number, delivery in enumerate(deliveries(count, only="helpdesk"))
    }
    sent_at, seen_at = [0.0] * count, multiprocessing.Array("d", count, lock=False)
    listening = multiprocessing.Event()
    reader = multiprocessing.Process(target=_read, args=(hub, numbers, seen_at, listening, seconds + 60))
    try:
        wait_for("the gateway", lambda: ready(port), 60)
        group = f"{hub.prefix}.normalizer"
        wait_for("the normalizer", lambda: bool(hub.kafka.group(group).topics), 60)
        reader.start()
        listening.wait(30)
        waiting = requests(hub, deliveries(count, only="helpdesk"))
        lost = asyncio.run(steady(port, waiting, _PER_SECOND, sent_at, _CONNECTIONS))
        reader.join(30)
    finally:
        reader.kill()
        for service in services:
            service.stop()
    latencies = [seen - sent for sent, seen in zip(sent_at, seen_at, strict=True) if seen][count // 10 :]
    return {
        "events": len(latencies),
        "events_per_second": _PER_SECOND,
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "lost": sum(not seen for seen in seen_at) + lost,
    }


def _read(hub: Hub, numbers: dict[str, int], seen_at: Any, listening: Any, seconds: float) -> None:
    consumer = hub.kafka.__class__(hub.kafka.options).consumer(fetch_wait_max_ms=10)
    [topic] = [topic for topic in hub.events if ".ticket." in topic.name]
    consumer.assign([TopicPartition(topic.name, number, OFFSET_END) for number in range(topic.partitions)])
    consumer.poll(0.5)
    listening.set()
    left, end = len(numbers), time.time() + seconds
    while left and time.time() < end:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        now = time.time()
        found = header_of(message, "ce_id")
        if found in numbers and not seen_at[numbers[found]]:
            seen_at[numbers[found]] = now
            left -= 1
    consumer.close()
