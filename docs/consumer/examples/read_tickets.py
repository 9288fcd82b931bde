"""Follows tickets: committed events only, each at least once, those of one ticket in their order."""

import json
import os
import sys

from confluent_kafka import Consumer, KafkaException

consumer = Consumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA") or sys.exit("set KAFKA to the address of the hub's Kafka"),
        "group.id": "ticket-board",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",  # a new group begins with what is kept, not with what comes next
        "enable.auto.offset.store": False,  # what is done is committed, not what was read
    }
)
consumer.subscribe(["unsilo.event.ticket.ticket.v1"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        headers = dict(message.headers() or [])
        value = message.value()
        if value is not None:  # a record without value is a tombstone
            kind, data = headers["ce_type"].decode(), json.loads(value)
            print(kind, data["entity"]["id"], data["entity"].get("title", ""), flush=True)
        consumer.store_offsets(message)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()  # commits what is stored, and gives the partitions back at once
