"""`unsilo status`: how the hub is doing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from unsilo_schemas.topics import CONSUMERS

from .hub import Hub
from .letters import Letter, Wanted, letters
from .moments import lasting, moment
from .output import AsJson, console, show_json, show_json_line, shown
from .queues import Depth, Gauge, Service, services
from .tables import show_rows

_WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _View:
    """What one look found."""

    at: datetime
    services: Sequence[Service]
    depths: Sequence[Depth]


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds until Ctrl-C.")] = False,
    since: Annotated[str, typer.Option(help="Count dead letters from then on: so long ago, or a time.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Say which services work, and how each queue is doing: records of the last minute, lag, dead letters.

    It asks the broker, and so knows of services that are down, too. A dead letter that was put back does not count.

    Example: unsilo status --watch
    """
    start = moment(since)
    hub = Hub.reach()
    gauge = Gauge(hub)
    buried = _Buried(hub, start)
    try:
        while True:
            view = _View(datetime.now(UTC), services(hub), gauge.depths(buried.now()))
            if watch and as_json:
                show_json_line(_json(view))
            elif as_json:
                show_json(_json(view))
            else:
                _show(view, since, watch)
            if not watch:
                return
            time.sleep(_WATCH_SECONDS)
            hub.refresh()
    except KeyboardInterrupt:
        return
    finally:
        gauge.close()


class _Buried:
    """The letters that were not put back. Read again only when there may be others."""

    def __init__(self, hub: Hub, since: datetime) -> None:
        self._hub = hub
        self._since = since
        self._ends: dict[tuple[str, int], int] = {}
        self._letters: list[Letter] = []

    def now(self) -> list[Letter]:
        names = [*(self._hub.topics.dead(consumer).name for consumer in CONSUMERS), self._hub.topics.audit().name]
        places = self._hub.places(names)
        ends = self._hub.kafka.end_offsets(places, committed=True) if places else {}
        if ends != self._ends:
            found = letters(self._hub, Wanted(since=self._since))
            self._letters = [letter for letter in found if letter.redriven_at is None]
            self._ends = ends
        return self._letters


def _show(view: _View, since: str, watch: bool) -> None:
    if watch:
        console.clear()
        console.print(shown(view.at))
    show_rows([{"service": item.name, "state": _state(item)} for item in view.services], False, "")
    console.print()
    down = {item.name for item in view.services if not item.workers and not item.idle}
    rows = [
        {
            "connection": depth.connection or "(all)",
            "queue": depth.queue,
            "last minute": depth.per_minute,
            "lag": depth.lag,
            "oldest": lasting(depth.waits(view.at)) if depth.lag else "",
            f"dead {since}": depth.dead,
            "service": f"{depth.service}, down" if depth.service in down else depth.service,
        }
        for depth in view.depths
    ]
    nothing = "no queues yet: declare connections in unsilo.yaml and run `unsilo apply`"
    show_rows(rows, False, nothing, spare=["service"])


def _state(item: Service) -> str:
    if item.idle:
        return "nothing to do: no connection needs it"
    if not item.workers:
        if item.address:
            return f"does not answer at {item.address}: `unsilo run {item.name}` starts one"
        return "no worker, or it hangs: `unsilo doctor` says what to do"
    if item.address:
        return f"answers at {item.address}"
    return "1 worker" if item.workers == 1 else f"{item.workers} workers"


def _json(view: _View) -> dict[str, Any]:
    return {
        "at": view.at.isoformat(),
        "services": [
            {"service": item.name, "workers": item.workers, **({"address": item.address} if item.address else {})}
            for item in view.services
        ],
        "queues": [
            {
                "connection": depth.connection or None,
                "queue": depth.queue,
                "topic": depth.topic,
                "service": depth.service,
                "per_minute": depth.per_minute,
                "lag": depth.lag,
                "oldest_seconds": round(depth.waits(view.at), 3),
                "dead": depth.dead,
            }
            for depth in view.depths
        ],
    }
