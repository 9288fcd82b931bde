"""The same with FastStream: committed events only, each at least once."""

import asyncio
import os
import sys
from typing import Any

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

broker = KafkaBroker(os.environ.get("KAFKA") or sys.exit("set KAFKA to the address of the hub's Kafka"))


@broker.subscriber(
    "unsilo.event.ticket.ticket.v1",
    group_id="ticket-stream",
    isolation_level="read_committed",  # its default is read_uncommitted
    auto_offset_reset="earliest",
    ack_policy=AckPolicy.NACK_ON_ERROR,  # its default commits before the work is done
)
async def follow(data: dict[str, Any] | bytes, message: KafkaMessage) -> None:
    if isinstance(data, bytes):
        return  # a tombstone arrives as b""
    print(message.headers["ce_type"], data["entity"]["id"], data["entity"].get("title", ""), flush=True)


if __name__ == "__main__":
    asyncio.run(FastStream(broker).run())
