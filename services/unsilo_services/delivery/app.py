"""Puts delivery together: settings, configuration, lanes, loop."""

from ..processes import Process
from .accounts import Accounts
from .lanes import Lanes
from .step import CONSUMER, Delivery

_POLL_SECONDS = 0.01
_BATCH_RECORDS = 500


def run() -> None:
    """Delivers until SIGTERM or SIGINT, then waits for the calls that are out and commits what came of them."""
    with Process(CONSUMER) as process:
        lanes = Lanes()
        lanes.start()
        accounts = Accounts(process.kafka, process.topics.config(), lanes)
        step = Delivery(process.topics, lanes)

        def topics() -> list[str]:
            configuration = process.configuration
            step.configure(configuration)
            accounts.look_after(configuration)
            return step.command_topics()

        try:
            process.run_loop(
                topics, step, lambda: lanes.turned_at, poll_seconds=_POLL_SECONDS, batch_records=_BATCH_RECORDS
            )
        finally:
            lanes.stop()
