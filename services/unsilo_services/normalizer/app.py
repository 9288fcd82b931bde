"""Puts the normalizer together: settings, configuration, ledger, loop."""

import gc

from ..processes import Process
from .ledger import Ledger
from .step import CONSUMER, Normalizer

_ALLOCATIONS_BETWEEN_COLLECTIONS = 200_000  # mapping makes many objects and no cycles: at 700, a tenth of the time


def run() -> None:
    """Normalises until SIGTERM or SIGINT, then finishes the batch at hand."""
    with Process(CONSUMER) as process:
        ledger = Ledger(process.kafka, process.topics.ledger(), process.slot.cache)
        step = Normalizer(process.topics, ledger)

        def topics() -> list[str]:
            step.configure(process.configuration)
            return step.raw_topics()

        gc.freeze()
        gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS)
        try:
            process.run_loop(topics, step)
        finally:
            ledger.close()
