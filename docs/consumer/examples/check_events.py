"""Checks each event against the JSON Schema that it names: for a test of your own, not for every event of every day."""

import json
import os
import sys
import urllib.request
from functools import cache
from typing import Any

from confluent_kafka import Consumer
from jsonschema import Draft202012Validator


@cache
def validator(dataschema: str) -> Draft202012Validator:
    """Fetched once for each type."""
    with urllib.request.urlopen(dataschema, timeout=10) as answer:
        schema: dict[str, Any] = json.load(answer)
    return Draft202012Validator(schema)


consumer = Consumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA") or sys.exit("set KAFKA to the address of the hub's Kafka"),
        "group.id": "schema-check",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe(["unsilo.event.ticket.ticket.v1"])
try:
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        headers = {name: value.decode() for name, value in message.headers() or []}
        faults = list(validator(headers["ce_dataschema"]).iter_errors(json.loads(message.value() or b"null")))
        print("fits" if not faults else f"differs: {faults[0].message}", headers["ce_type"], flush=True)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
