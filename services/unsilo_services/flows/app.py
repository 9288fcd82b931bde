"""Puts flows together: settings, configuration, what is known of writes, loop."""

from ..processes import Process
from .known import Known
from .step import CONSUMER, Flows

_POLL_SECONDS = 0.02
_BATCH_RECORDS = 1000  # any number of them may have to be held, and held ones are few


def run() -> None:
    """Routes until SIGTERM or SIGINT, then finishes the batch at hand."""
    with Process(CONSUMER) as process:
        known = Known(process.kafka, process.topics, process.slot.cache)
        known.follow(process.configuration)
        known.start()
        process.watch.watch_reader(known)
        step = Flows(process.topics, known)

        def topics() -> list[str]:
            step.configure(process.configuration)
            return step.event_topics()

        try:
            process.run_loop(topics, step, poll_seconds=_POLL_SECONDS, batch_records=_BATCH_RECORDS)
        finally:
            known.stop()
