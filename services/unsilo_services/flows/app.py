"""Puts flows together: settings, configuration, links, loop."""

from unsilo_schemas.link import LINK

from ..processes import Process
from .links import Links
from .step import CONSUMER, Flows

_POLL_SECONDS = 0.02


def run() -> None:
    """Routes until SIGTERM or SIGINT, then finishes the batch at hand."""
    with Process(CONSUMER) as process:
        links = Links(process.kafka, process.topics.event(LINK), process.slot.cache)
        links.start()
        step = Flows(process.topics, links)

        def topics() -> list[str]:
            step.configure(process.configuration)
            return step.event_topics()

        try:
            process.run_loop(topics, step, poll_seconds=_POLL_SECONDS)
        finally:
            links.stop()
