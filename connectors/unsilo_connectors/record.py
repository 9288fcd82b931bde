"""`python -m unsilo_connectors.record NAME [CASE ...]` signs samples anew and writes down the events they become.

For the author of a connector: write `received_at`, `headers` and `body` of a case by hand, run this, and then *read*
the events, because from then on the suite holds the connector to them. Without a case, it takes them all.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from .contract import Connector, WebhookRequest
from .discovery import in_a_line, load
from .samples import Sample, rendered, samples, stored, translated


class Unrecordable(Exception):
    """A sample cannot be completed. The message says which, and what its author has to mend."""


def record(name: str, cases: Sequence[str] = ()) -> list[Path]:
    """Completes the samples of these cases in place, of all where none is named, and returns their paths.

    Raises Unrecordable.
    """
    try:
        connector = load(name)
        found = {sample.name: sample for sample in samples(connector)}
    except Exception as error:
        raise Unrecordable(f"{name} cannot be loaded: {in_a_line(error, name)}") from error
    paths = []
    for case in cases or found:
        if case not in found:
            raise Unrecordable(f"{name} has no samples/{case}.json")
        try:
            paths.append(_record(connector, found[case]))
        except Exception as error:
            raise Unrecordable(f"{name} cannot map {case}: {in_a_line(error, name)}") from error
    return paths


def _record(connector: Connector[Any, Any], sample: Sample) -> Path:
    unsigned: WebhookRequest[Any] = sample.request(connector)
    before: dict[str, Any] = json.loads(sample.path.read_text(encoding="utf-8"))
    received_at = datetime.fromisoformat(before["received_at"])
    headers = {**unsigned.headers, **connector.sign(sample.body, unsigned.connection.settings, received_at)}
    request = WebhookRequest(unsigned.connection, headers, sample.body, received_at)
    raws = stored(connector, request)
    answer = connector.handshake(connector.decode(raws[0]), raws[0]) if raws else None
    events = [] if answer else [[rendered(event) for event in translated(connector, raw)] for raw in raws]
    after = {**before, "headers": headers, **({"answer": answer.body.decode()} if answer else {}), "events": events}
    if after != before:  # the order of a mapping's fields alone is no news
        sample.path.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sample.path


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m unsilo_connectors.record NAME [CASE ...]")
    try:
        recorded = record(sys.argv[1], sys.argv[2:])
    except Unrecordable as error:
        sys.exit(str(error))
    print(*recorded, sep="\n")  # noqa: T201  # a command's answer
