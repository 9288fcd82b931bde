"""Every metric of the hub. Labels come from small closed sets, never from what a sender wrote."""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS = Counter("unsilo_gateway_requests", "Requests to /in, by connection and how they were answered",
                   ["connection", "outcome"])  # fmt: skip
REQUEST_SECONDS = Histogram("unsilo_gateway_request_seconds", "From the first byte to the answer, stored ones only",
                            ["connection"], buckets=_LATENCY)  # fmt: skip
RECORDS = Counter("unsilo_normalizer_records", "Raw records, by connection and what became of them",
                  ["connection", "outcome"])  # fmt: skip
EVENTS = Counter("unsilo_normalizer_events", "Events published, by connection and type", ["connection", "type"])
DEAD = Counter("unsilo_dead_letters", "Records that could not be processed", ["consumer", "connection", "reason"])
TRANSACTIONS = Counter("unsilo_transactions", "Transactions, by service and how they ended", ["service", "outcome"])
BATCH_SECONDS = Histogram("unsilo_batch_seconds", "From a batch's first record to its commit", ["service"],
                          buckets=_LATENCY)  # fmt: skip
DEDUPLICATION_RESTORED = Counter("unsilo_deduplication_restored", "Ids read back from the ledger after a move")
CONFIG_OFFSET = Gauge("unsilo_config_offset", "Offset up to which the configuration has been followed", ["service"])
FLOW_EVENTS = Counter("unsilo_flows_events", "Events that a flow waits for, by connection and what became of them",
                      ["connection", "outcome"])  # fmt: skip
FLOW_WAITING = Gauge("unsilo_flows_waiting", "Events that wait for a link")
DELIVERIES = Counter("unsilo_deliveries", "Commands, by connection and how they ended", ["connection", "outcome"])
DELIVERY_ATTEMPTS = Counter("unsilo_delivery_attempts", "Attempts to carry a command out", ["connection", "outcome"])
DELIVERY_SECONDS = Histogram("unsilo_delivery_attempt_seconds", "One attempt, all its calls together", ["connection"],
                             buckets=_LATENCY)  # fmt: skip
DELIVERY_WAITING = Gauge("unsilo_delivery_waiting", "Commands taken up and not finished", ["connection"])
