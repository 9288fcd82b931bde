"""Events a second of one normalizer worker, everything on: from the raw log to committed events.

Method: the raw topics of four connections are filled first, as the gateway would; then one worker starts, and the time
from its first published event to its last committed offset counts. Broker and worker share the machine.
"""

import time
from typing import Any

from hub import Hub, seed
from processes import cpu_seconds, peak_mebibytes, wait_for
from unsilo_services.kafka import TopicPartition


def measure(hub: Hub, count: int) -> dict[str, Any]:
    """Fills the raw topics and lets one worker empty them."""
    raw = seed(hub, count)
    group = f"{hub.prefix}.normalizer"
    events = [TopicPartition(topic.name, number) for topic in hub.events for number in range(topic.partitions)]
    worker = hub.start("normalizer")
    try:
        wait_for(
            "the first event", lambda: sum(hub.kafka.end_offsets(events).values()) > 0 or not worker.alive, 60, 0.02
        )
        began, cpu, broker = time.perf_counter(), cpu_seconds(worker.pid), cpu_seconds(hub.broker.pid)
        wait_for(
            "all raw records",
            lambda: sum(hub.kafka.committed(group, raw).values()) >= count or not worker.alive,
            600,
            0.25,
        )
        seconds = time.perf_counter() - began
        spent, broker_spent = cpu_seconds(worker.pid) - cpu, cpu_seconds(hub.broker.pid) - broker
        memory = peak_mebibytes(worker.pid)
    finally:
        worker.stop()
    published = hub.count(events)
    return {
        "events": published,
        "events_per_second": round(count / seconds),
        "cpu_seconds_per_million": round(spent / count * 1e6, 1),
        "broker_cpu_seconds_per_million": round(broker_spent / count * 1e6, 1),
        "peak_memory_mib": round(memory),
        "lost_or_doubled": count - published,
    }
