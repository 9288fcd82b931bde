"""Every metric of the hub. Labels come from small closed sets, never from what a sender wrote."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

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
FLOW_WAITING = Gauge("unsilo_flows_waiting", "Events that wait for a link or for the copy that they are about")
DELIVERIES = Counter("unsilo_deliveries", "Commands, by connection and how they ended", ["connection", "outcome"])
DELIVERY_ATTEMPTS = Counter("unsilo_delivery_attempts", "Attempts to carry a command out", ["connection", "outcome"])
DELIVERY_SECONDS = Histogram("unsilo_delivery_attempt_seconds", "One attempt, all its calls together", ["connection"],
                             buckets=_LATENCY)  # fmt: skip
END_TO_END_SECONDS = Histogram(
    "unsilo_end_to_end_seconds", "From a delivery's arrival at the gateway to the answer of the remote that is written",
    ["connection"], buckets=(*_LATENCY, 30, 60, 300, 900, 3600),
)  # fmt: skip
DELIVERY_WAITING = Gauge("unsilo_delivery_waiting", "Commands taken up and not finished", ["connection"])
QUEUE_LAG = Gauge("unsilo_queue_lag", "Records of a queue that its group has not finished, as the broker tells it",
                  ["queue", "group"])  # fmt: skip
QUEUE_OLDEST = Gauge("unsilo_queue_oldest_seconds", "Age of a queue's oldest unfinished record; 0 if there is none",
                     ["queue", "group"])  # fmt: skip
QUEUE_END = Gauge("unsilo_queue_end_offset", "Offset behind a queue's last record, its partitions added up", ["queue"])
GROUP_MEMBERS = Gauge("unsilo_group_members", "Workers that a group has, as the broker tells it", ["group"])
DEAD_LETTER_RECORDS = Gauge("unsilo_dead_letter_records", "Dead letters that are kept, redriven ones too", ["consumer"])
MONITOR_LOOKED = Gauge("unsilo_monitor_looked_timestamp_seconds",
                       "When the monitor last saw the whole broker, in Unix time; 0 in other services")  # fmt: skip

_SERVICES = {
    "normalizer": "makes events of raw deliveries",
    "flows": "makes commands of events",
    "delivery": "carries commands out",
}

LABELS: Mapping[str, str] = {
    "connection": "id of a configured connection; `unknown` where there is none",
    "type": "event type, `unsilo.<domain>.<entity>.<verb>.v1`",
    "queue": "topic without its prefix: `raw.<connection>`, `event.<domain>.<aggregate>.v<n>`, `retry.flows`, "
    "`command.<connection>`",
}
"""Labels whose values follow from the configuration."""

VALUES: Mapping[MetricWrapperBase, Mapping[str, Mapping[str, str]]] = {
    REQUESTS: {
        "outcome": {
            "stored": "202: verified, and Kafka has it with acks=all",
            "handshake": "200: verified, and it only asked whether we are there",
            "signature_missing": "401: comes without the signature that its connector looks for",
            "signature_malformed": "401: its signature is not written as the vendor writes it",
            "signature_wrong": "401: signed with another secret, or changed on the way",
            "credentials_missing": "401: comes without the user name and password that its connector looks for",
            "credentials_wrong": "401: another user name or password",
            "timestamp_missing": "401: says no time, where the vendor says one",
            "timestamp_malformed": "401: its time cannot be read",
            "too_old": "401: signed longer ago than is taken; an old one sent again, or a clock that is wrong",
            "too_far_ahead": "401: signed in the future; a clock is wrong",
            "connection_unknown": "401: no connection of that name is configured",
            "secret_missing": "401: the connection's secret is not set in the gateway, or its settings do not hold",
            "unverified_too_fast": "429: the address failed to prove itself too often within a minute",
            "too_fast": "429: verified, and more than the connection's `rate_per_minute`",
            "too_large": "413: larger than the connection takes, also after its coding is undone",
            "wrong_type": "415: verified, and of a media type that the vendor does not send",
            "coding_unknown": "415: in a content coding that is not understood",
            "framing_broken": "400: no HTTP, or none whose end can be found; the connection is closed",
            "coding_broken": "400: not what its content coding says",
            "connector_failed": "401: its connector failed on it; a fault of the hub's, see the gateway's log",
            "head_too_large": "431: headers of more than 64 KiB",
            "too_slow": "503: its body did not come within 8 seconds, or within four fifths of what the most impatient "
            "sender waits",
            "no_address": "404: sent to where nothing is",
            "wrong_method": "405: by a method that the address does not take",
            "gone": "the sender hung up before its request was complete; nothing is stored, nobody is answered",
            "turned_away": "no answer: its network connection was closed, because its address, or all together, had as "
            "many open as may be",
            "unavailable": "503: could not be stored before the sender's patience ends; it sends it again",
        }
    },
    RECORDS: {
        "outcome": {
            "published": "at least one event was published",
            "duplicate": "was published before",
            "ignored": "of a type that its connector declares ignored",
            "dead": "became a dead letter",
        }
    },
    DEAD: {
        "consumer": _SERVICES,
        "reason": {
            "payload_malformed": "is not what the vendor documents, or not what the hub writes",
            "size_exceeded": "the event would be larger than its topic takes",
            "source_unmapped": "its connector has no such event type, or its connection is gone or has another one",
            "schema_violation": "the event would break its schema",
            "rule_violation": "a flow's text or condition failed, or the write is not allowed",
            "budget_exhausted": "too many writes on one object within a minute: a loop was broken",
            "delivery_rejected": "the remote refused it for good, or its secret or settings do not hold",
            "delivery_timeout": "the remote did not take it within 24 hours",
        },
    },
    TRANSACTIONS: {
        "service": _SERVICES,
        "outcome": {
            "committed": "is seen by readers",
            "aborted": "did not happen; the same records come again",
        },
    },
    BATCH_SECONDS: {"service": _SERVICES},
    CONFIG_OFFSET: {
        "service": {
            "gateway": "takes deliveries in",
            **_SERVICES,
            "monitor": "watches the queues",
        }
    },
    FLOW_EVENTS: {
        "outcome": {
            "commanded": "a command was issued; counted for each",
            "echo": "is what the hub itself wrote",
            "near_miss": "looked like an echo, no write of the hub explains it: it went on",
            "suppressed": "no command: an echo, or its story has been there or has gone too far",
        }
    },
    DELIVERIES: {
        "outcome": {
            "done": "was carried out",
            "delivery_rejected": "the remote refused it for good, or its secret or settings do not hold",
            "delivery_timeout": "the remote did not take it within 24 hours",
            "rule_violation": "is not allowed, or its action is not there any more",
            "payload_malformed": "cannot be read",
        }
    },
    DELIVERY_ATTEMPTS: {
        "outcome": {
            "done": "the remote took it",
            "refused": "the remote refused it for good",
            "postponed": "out of reach, busy or limiting its rate; it is tried again",
        }
    },
    QUEUE_LAG: {"group": _SERVICES},
    QUEUE_OLDEST: {"group": _SERVICES},
    GROUP_MEMBERS: {"group": _SERVICES},
    DEAD_LETTER_RECORDS: {"consumer": _SERVICES},
}
"""What each value of the other labels means."""


def every_metric() -> tuple[MetricWrapperBase, ...]:
    """All of the above, in their order."""
    return tuple(found for found in globals().values() if isinstance(found, MetricWrapperBase))


def labels_of(metric: MetricWrapperBase) -> tuple[str, ...]:
    """The names of a metric's labels."""
    return tuple(metric._labelnames)
