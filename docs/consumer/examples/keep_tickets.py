"""Keeps every ticket in a table. Reading an event twice, or events in another order, gives the same table."""

import json
import os
import sqlite3
import sys
from datetime import datetime
from typing import Any

from confluent_kafka import Consumer, KafkaException

table = sqlite3.connect("tickets.db")
table.execute("CREATE TABLE IF NOT EXISTS seen (event TEXT PRIMARY KEY)")
table.execute("CREATE TABLE IF NOT EXISTS ticket (id TEXT PRIMARY KEY, fields TEXT)")


def keep(headers: dict[str, str], data: dict[str, Any]) -> bool:
    """Whether the event told something new."""
    if not headers["ce_type"].startswith("unsilo.ticket.ticket."):
        return False  # comments are on this topic too, behind their tickets
    with table:  # one transaction: an event is seen exactly if it is kept
        if table.execute("INSERT OR IGNORE INTO seen VALUES (?)", [headers["ce_id"]]).rowcount == 0:
            return False
        entity, time = data["entity"], datetime.fromisoformat(headers["ce_time"]).timestamp()
        row = table.execute("SELECT fields FROM ticket WHERE id = ?", [entity["id"]]).fetchone()
        fields = json.loads(row[0]) if row else {}  # by name: when it was told, and what
        for name, value in entity.items():  # one that is absent was not told; one that is null is none
            if name not in fields or fields[name][0] <= time:
                fields[name] = [time, value]
        table.execute("INSERT OR REPLACE INTO ticket VALUES (?, ?)", [entity["id"], json.dumps(fields)])
        return True


def follow() -> None:
    """Keeps what comes until Ctrl-C."""
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA") or sys.exit("set KAFKA to the address of the hub's Kafka"),
            "group.id": "ticket-table",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
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
            headers = {name: value.decode() for name, value in message.headers() or []}
            value = message.value()
            if value is not None and keep(headers, json.loads(value)):
                print("kept", headers["ce_subject"], flush=True)
            consumer.store_offsets(message)
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    follow()
