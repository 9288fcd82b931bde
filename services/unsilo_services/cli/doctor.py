"""`unsilo doctor`: what is wrong with the hub, and what to do about it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ..kafka import KafkaException, KafkaUnavailable
from . import checks_cluster, checks_hub
from .examination import Check, Examination, Finding
from .faults import told
from .hub import Hub
from .moments import moment
from .output import AsJson, show_json
from .tables import show_grid

CHECKS = (
    Check("cluster", checks_cluster.cluster),
    Check("topics", checks_cluster.topics),
    Check("disk", checks_cluster.disk, needs_kafka=False),
    Check("configuration", checks_hub.configuration),
    Check("accounts", checks_hub.accounts),
    Check("gateway", checks_hub.gateway),
    Check("services", checks_hub.workers),
    Check("queues", checks_hub.queues),
    Check("deliveries", checks_hub.deliveries),
    Check("dead letters", checks_hub.letters),
    Check("senders", checks_hub.senders),
)
_DEAD_OVER = timedelta(hours=24)
_REFUSED_OVER = timedelta(hours=1)  # somebody who knocks once is no trouble for a day
_ONE_LINE = 58  # columns: what a terminal of 80 has beside the names of the checks
_STYLES = {"wrong": "red", "look": "yellow"}


def doctor(
    since: Annotated[
        str | None, typer.Option(help="Look back so far; unless given, 24h at dead letters and 1h at refusals.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with the hub, and what to do about each finding. Exits 1 where something is.

    `look` is worth a look and may be as it should be. Example: unsilo doctor --since 1h
    """
    hub = Hub()
    over = None if since is None else datetime.now(UTC) - moment(since)
    examination = Examination(hub, over or _DEAD_OVER, over or _REFUSED_OVER)
    try:
        found = list(_examine(examination))
    finally:
        examination.close()
    wrong = any(finding.level == "wrong" for _, findings in found for finding in findings)
    if as_json:
        show_json({"wrong": wrong, "checks": [_json(check, findings) for check, findings in found]})
    else:
        show_grid([row for check, findings in found for row in _rows(check, findings)])
    if wrong:
        raise typer.Exit(1)


def _examine(examination: Examination) -> Iterator[tuple[Check, list[Finding]]]:
    """Every check that can be made; without Kafka, those that need none."""
    reached = Check("Kafka", lambda _: ())
    try:
        examination.hub.await_kafka()
        yield reached, []
    except KafkaUnavailable as error:
        what, _, remedy = str(error).partition(": ")
        yield reached, [Finding("wrong", what, remedy)]
        yield from ((check, _findings(check, examination)) for check in CHECKS if not check.needs_kafka)
        return
    for check in CHECKS:
        yield check, _findings(check, examination)


def _findings(check: Check, examination: Examination) -> list[Finding]:
    try:
        return list(check.examine(examination))
    except (KafkaException, KafkaUnavailable) as error:
        return [Finding("wrong", f"could not be looked at: {told(error)}", "mend that first")]


def _rows(check: Check, findings: Sequence[Finding]) -> Iterator[list[tuple[str, str]]]:
    if not findings:
        yield [("fine", "green"), (check.title, ""), ("", "")]
    for finding in findings:
        said = [finding.what, f"-> {finding.remedy}"]
        first, *rest = [" ".join(said)] if len(" ".join(said)) <= _ONE_LINE else said
        yield [(finding.level, _STYLES[finding.level]), (check.title, ""), (first, "")]
        yield from ([("", ""), ("", ""), (line, "")] for line in rest)


def _json(check: Check, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "check": check.title,
        "findings": [{"level": finding.level, "what": finding.what, "remedy": finding.remedy} for finding in findings],
    }
