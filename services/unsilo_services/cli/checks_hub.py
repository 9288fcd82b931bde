"""Checks of the hub itself: its configuration, its services, its queues, and what it had to refuse."""

import ipaddress
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median
from urllib.parse import urlsplit

from pydantic import ValidationError
from unsilo_connectors.discovery import broken

from ..config_topic import entries
from ..configuration import SecretUnavailable, connection_of, from_environment
from ..follow import not_read
from ..health import is_ready
from .audit_trail import SKEWED, Noted
from .examination import Examination, Finding, Level
from .letters import REMEDIES
from .moments import lasting
from .output import counted
from .own_accounts import cannot_ask

_LATE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 2.0
_WRONG_PROOF = frozenset({"signature_wrong", "credentials_wrong"})
_ALL_REFUSED = 3  # so many wrong proofs in a row, and nothing taken in since, are no stranger's knocking


def configuration(examination: Examination) -> Iterator[Finding]:
    """Nothing connected, entries of another version, flows that do not compile, secrets that are not there."""
    hub, found = examination.hub, examination.hub.configuration
    if not found.connections:
        yield Finding("look", "nothing is connected", "declare connections in unsilo.yaml and run `unsilo apply`")
    for name, why in broken().items():
        yield Finding("wrong", f"connector {name} cannot be loaded: {why}", "mend it, then start the services anew")
    known = {*entries(found), *(f"accounts/{name}" for name in found.accounts)}
    unread = sorted(key for key in hub.entries if key not in known)
    if unread:
        yield Finding(
            "wrong", f"this version cannot read {', '.join(unread)}",
            "bring its connector back or update this version, or apply the configuration again",
        )  # fmt: skip
    for name in not_read(hub.kafka, hub.topics, found.connections):
        yield Finding(
            "wrong", f"connection {name}: the running services do not follow it, its deliveries may be answered 401",
            "start the services anew: they look for connectors when they start; or see the normalizer's log",
        )  # fmt: skip
    yield from _flows(examination)
    for name, section in found.connections.items():
        try:
            connection_of(section, from_environment)
        except SecretUnavailable as error:
            refused = any(
                note.facts.get("reason") == "secret_missing" for note in examination.refused_last.get(name, ())
            )
            yield Finding(
                "wrong" if refused else "look", f"connection {name}: {error}, here",
                "set it where gateway and delivery run; `unsilo send` needs it here",
            )  # fmt: skip
        except ValidationError:
            yield Finding("wrong", f"connection {name}: its settings do not hold", "`unsilo check` says where")


def _flows(examination: Examination) -> Iterator[Finding]:
    from ..rules import Flow, RuleBroken  # brings CEL along, which takes a third of a second

    found = examination.hub.configuration
    for section in found.flows.values():
        try:
            Flow(section, found)
        except RuleBroken as broken:
            place = ".".join(map(str, broken.path))
            yield Finding(
                "wrong", f"flow {section.id} does nothing: {place} {broken.problem}",
                "mend it in unsilo.yaml, `unsilo check` it, and apply it",
            )  # fmt: skip


def accounts(examination: Examination) -> Iterator[Finding]:
    """Connections that flows write to, where nobody has told the hub who it is."""
    found = examination.hub.configuration
    for name in sorted(found.targets):
        if name not in found.connections or name in found.accounts:
            continue
        lacks = cannot_ask(found.connections[name])
        yield Finding(
            "wrong",
            f"connection {name}: the hub does not know its own account there, so every event from there waits"
            + (f"; {lacks}" if lacks else ""),
            "set it in unsilo.yaml and apply it, or own_accounts"
            if lacks
            else "see that delivery runs with its token, and what its log says; or set own_accounts in unsilo.yaml",
        )


def gateway(examination: Examination) -> Iterator[Finding]:
    """A gateway that does not answer, and a public address that vendors cannot use."""
    local = next(item for item in examination.services if item.address)
    if not local.workers:
        yield Finding(
            "wrong", f"no gateway answers at {local.address}: deliveries are refused, vendors try again for a while",
            "start one with `unsilo up` or `unsilo run gateway`, and end one that is there and hangs; elsewhere, set "
            "UNSILO_GATEWAY_HOST and _PORT",
        )  # fmt: skip
    public = examination.hub.configuration.hub.public_url
    url = urlsplit(public)
    remedy = "set hub.public_url in unsilo.yaml to the https address that vendors call, and apply it"
    if _is_private(url.hostname or ""):
        yield Finding("look", f"vendors cannot reach {url.netloc}", "set hub.public_url")
    elif url.scheme != "https":
        yield Finding("look", f"public_url is {public}: deliveries travel in the clear", remedy)
    elif not is_ready(public):
        yield Finding("look", f"no gateway answers at {public}, from here", "look at what stands before the gateway")


def _is_private(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host


def workers(examination: Examination) -> Iterator[Finding]:
    """Services that nobody works for."""
    lag: Counter[str] = Counter()
    for depth in examination.depths.values():
        lag[depth.service] += depth.lag
    for service in examination.services:
        if not service.workers and not service.address and not service.idle:
            waits = f"; {counted(lag[service.name], 'record')} waiting" if lag[service.name] else ""
            yield Finding(
                "wrong",
                f"{service.name}: no worker{waits}",
                f"start one with `unsilo run {service.name}`; end one that is there and hangs: `unsilo up` restarts it",
            )


def queues(examination: Examination) -> Iterator[Finding]:
    """Queues that are behind though somebody works on them."""
    working = {service.name for service in examination.services if service.workers}
    late = [
        depth
        for depth in examination.depths.values()
        if depth.service in working and depth.waits(examination.now) > _LATE_SECONDS
    ]
    if not late:
        return
    time.sleep(_LOOK_AGAIN_SECONDS)
    after = examination.measure()
    for before in late:
        now = after.get(before.topic, before)
        trend = "growing" if now.lag > before.lag else "shrinking" if now.lag < before.lag else "standing"
        where = f"{before.queue} of {before.connection}" if before.connection else before.queue
        remedy = f"give {before.service} more workers (`unsilo run {before.service} --workers 2`), and see its log"
        if before.service == "delivery":
            remedy = "`deliveries`, below, says what they wait for; if it says nothing, delivery's log does"
        yield Finding(
            "look" if trend == "shrinking" else "wrong",
            f"{where}: {now.lag} wait, the oldest for {lasting(before.waits(examination.now))}, {trend}",
            remedy,
        )


def deliveries(examination: Examination) -> Iterator[Finding]:
    """Connections that do not take what is written to them, and why."""
    for name, note in sorted(examination.delays.items()):
        yield Finding(
            "look",
            f"commands for {name} wait, as seen {lasting((examination.now - note.at).total_seconds())} ago: "
            f"{note.facts['why']}",
            "each is tried again for 24 hours: mend that system, or the connection's settings, and they go on",
        )


def letters(examination: Examination) -> Iterator[Finding]:
    """Dead letters of late."""
    counts = Counter((item.consumer, item.connection, item.reason) for item in examination.letters)
    for (consumer, connection, reason), count in counts.most_common():
        chosen = f"--consumer {consumer} --reason {reason}" + (f" --connection {connection}" if connection else "")
        mended = REMEDIES.get(reason, "see what it says")  # type: ignore[call-overload]  # a later version's reasons too
        yield Finding(
            "wrong",
            f"{counted(count, 'dead letter')} of {connection or 'no connection'} in {consumer}: {reason}",
            f"{mended}; then `unsilo dead redrive {chosen}`",
        )


def senders(examination: Examination) -> Iterator[Finding]:
    """Connections never heard from, but those that flows write to, and deliveries that were refused."""
    hub = examination.hub
    heard: Counter[str] = Counter()
    places = hub.places(hub.topics.raw(name).name for name in hub.configuration.connections)
    for (topic, _), end in (hub.kafka.end_offsets(places) if places else {}).items():
        heard[topic] += end
    for name in sorted(hub.configuration.connections.keys() - hub.configuration.targets):
        if not heard[hub.topics.raw(name).name]:
            yield Finding(
                "look", f"connection {name} has never been heard from",
                f"enter the address of `unsilo connections show {name}` at the vendor",
            )  # fmt: skip
    refused: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    skews: defaultdict[str, list[float]] = defaultdict(list)
    for note in examination.refusals:
        reason = str(note.facts.get("reason"))
        if reason in SKEWED:
            skews[note.connection or ""].append(float(note.facts.get("skew_seconds") or 0))
        else:
            ours = note.connection in hub.configuration.connections  # one removed has no deliveries to compare with
            refused[note.connection if note.connection and ours else "", reason].append(note.at)
    yield from _skewed(skews, examination.refused_last)
    for (connection, reason), times in sorted(refused.items(), key=lambda item: len(item[1]), reverse=True):
        level, remedy = _refused(connection, reason, examination.refused_last.get(connection, ()))
        yield Finding(
            level,
            f"{counted(len(times), 'delivery', 'deliveries')} to {connection or 'no connection of ours'} refused: "
            f"{reason}, the last {lasting((examination.now - max(times)).total_seconds())} ago",
            remedy,
        )


def _skewed(skews: Mapping[str, Sequence[float]], refused_last: Mapping[str, Sequence[Noted]]) -> Iterator[Finding]:
    for connection, seconds in sorted(skews.items()):
        lately = any(note.facts.get("reason") in SKEWED for note in refused_last.get(connection, ()))
        middle = median(seconds)
        many = counted(len(seconds), "delivery", "deliveries")
        side = "behind" if middle > 0 else "ahead of"
        remedy = "several senders differ alike: set this machine's clock (NTP)" if len(skews) > 1 else (
            "compare the gateway's clock with NTP; if it is right, the sender's is wrong, or it sends old ones again"
        )  # fmt: skip
        yield Finding(
            "wrong" if lately else "look",
            f"{many} to {connection} refused: sent at a time {lasting(abs(middle))} {side} ours",
            remedy,
        )


def _refused(connection: str, reason: str, last: Sequence[Noted]) -> tuple[Level, str]:
    """What to say of refusals, of which those in `last` came after the last delivery that was taken in."""
    if not connection:
        return "look", "a vendor may have an old address: compare with `unsilo connections list`; or it is noise"
    reasons = [note.facts.get("reason") for note in last]
    lately = reason in reasons
    if reason == "secret_missing" and not lately:
        return "look", "it is there again: a later delivery was taken in"
    if reason == "secret_missing":
        return (
            "wrong",
            "set its secret where the gateway runs: a file is seen within 15 s, a variable when it starts anew",
        )
    if reason in ("too_fast", "too_large", "wrong_type"):
        return "wrong", "the sender is known: raise its limit in unsilo.yaml, or mend its settings at the vendor"
    if not lately:
        return "look", "a later delivery was taken in: it is mended, have the vendor send these again; or it is noise"
    wrong = sum(each in _WRONG_PROOF for each in reasons)
    if reason in _WRONG_PROOF and wrong >= _ALL_REFUSED:
        return (
            "wrong",
            f"the last {wrong} signed deliveries were all refused: compare its secret at the vendor with ours",
        )
    differs = "its secret there and ours differ" if reason in _WRONG_PROOF else "it was told of no secret there"
    return "look", f"if it is the vendor: {differs}; if not, somebody is knocking"
