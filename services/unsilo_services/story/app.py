"""Tells the story on a whole hub, and then leaves the hub to whoever wants to try it."""

import time
from collections.abc import Callable

from ..local_hub import WATCH_SECONDS
from .acts import Story
from .lines import Lines
from .stage import Stage

_NEXT = """
The hub keeps running. In another terminal, here:
  .venv/bin/unsilo connections list              what is connected
  .venv/bin/unsilo tail --since 10m --once       events as they were published
  .venv/bin/unsilo send helpdesk ticket_created  send a sample through the door
  .venv/bin/unsilo trace helpdesk:4821           the way of Acme's ticket
  .venv/bin/unsilo status                        rates, lag, dead letters
Ctrl-C stops everything."""


def run(once: bool, wanted: Callable[[], bool]) -> list[str]:
    """Plays all acts; then, unless `once`, keeps the hub running as long as it is wanted. What did not come true."""
    lines = Lines()
    began = time.monotonic()
    with Stage(lines) as stage:
        lines.note(f"The hub runs after {time.monotonic() - began:.1f} s; its logs: {stage.hub.logs}")
        story = Story(stage)
        story.tell(wanted)
        lines.plain("")
        summary = story.summary()
        for failure in story.told.failed:
            lines.did_not(failure)
        lines.plain(summary)
        if not once:
            lines.plain(_NEXT)
        while not once and wanted():
            stage.hub.watch()
            time.sleep(WATCH_SECONDS)
    return story.told.failed
