"""`python -m unsilo_connectors.record NAME CASE` signs a sample anew and writes down the events it becomes.

For the author of a connector: write `received_at`, `headers` and `body` of a case by hand, run this, and then *read*
the events, because from then on the suite holds the connector to them.
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from .contract import WebhookRequest
from .discovery import load
from .samples import rendered, stored, translated, unfinished


def record(name: str, case: str) -> Path:
    """Completes one sample in place and returns its path; FileNotFoundError if there is no such case."""
    connector = load(name)
    path = Path(__file__).parent / name / "samples" / f"{case}.json"
    text: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    sample = unfinished(connector, case)
    unsigned: WebhookRequest[Any] = sample.request(connector)
    received_at = datetime.fromisoformat(text["received_at"])
    headers = {**unsigned.headers, **connector.sign(sample.body, unsigned.connection.settings, received_at)}
    request = WebhookRequest(unsigned.connection, headers, sample.body, received_at)
    raws = stored(connector, request)
    answer = connector.handshake(connector.decode(raws[0]), raws[0]) if raws else None
    text["headers"] = headers
    if answer is not None:
        text["answer"] = answer.body.decode()
    text["events"] = [] if answer else [[rendered(event) for event in translated(connector, raw)] for raw in raws]
    path.write_text(json.dumps(text, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m unsilo_connectors.record NAME CASE")
    print(record(sys.argv[1], sys.argv[2]))  # noqa: T201  # a command's answer
