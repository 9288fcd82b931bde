"""What is to be done about one event: whose doing it is, which flows it starts, and which of their commands may go out.

Nothing of a decision is done before all of it is known, so that an event that has to wait leaves no trace.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unsilo_connectors.contract import as_is
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.link import Story

from ..configuration import Configuration, connector_of
from ..dead_letters import DeadLetter
from ..rules import Flow, RuleFailed
from .breaker import Breaker
from .copies import CROWDED_PATIENCE_SECONDS, Copies, CopyAwaited
from .known import Known
from .route import Event, Issued, route, wants
from .stories import CREATIONS, barred, continued, judge, suspected

_CLOCKS_DIFFER_MS = 1000  # between the gateway and flows


@dataclass(slots=True)
class Decision:
    """What follows from an event. `taken_for` is what a suspected one was found to be."""

    commands: list[Issued] = field(default_factory=list)
    letters: list[tuple[Flow, DeadLetter]] = field(default_factory=list)
    suppressed: list[tuple[Flow | None, str]] = field(default_factory=list)
    taken_for: str | None = None


class Decisions:
    """Decides, with a configuration and what is known of writes."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._copies = Copies(known)
        self._breaker = Breaker()
        self._configuration = Configuration.empty()
        self._flows: dict[str, list[Flow]] = {}  # by event type
        self._targets: frozenset[str] = frozenset()
        self.awaited: frozenset[str] = frozenset()
        """The event types that have to be looked at."""

    def configure(self, configuration: Configuration, flows: Sequence[Flow]) -> None:
        """Takes a configuration and its flows over."""
        self._configuration = configuration
        self._flows = defaultdict(list)
        for flow in flows:
            for kind in flow.types:
                self._flows[kind.name].append(flow)
        self._targets = configuration.targets
        self.awaited = _awaited(self._flows)

    def decide(self, event: Event, since: float, crowded: bool) -> Decision | None:
        """What is to be done about an event; None if it has to wait.

        `since` is when it was first looked at, on the monotonic clock; `crowded` says that many of its connection wait
        already: then it does not wait for long, and becomes a letter instead.
        """
        flows = self._flows.get(event.envelope.type, [])
        story, taken_for = self._story(event, since)
        if taken_for == "wait":
            if not crowded or time.monotonic() - since < CROWDED_PATIENCE_SECONDS:
                return None
            why = (
                f"whether the hub wrote this cannot be told while {event.connection} does not answer: put it back then"
            )
            wanted = [flow for flow in flows if wants(flow, event, self._plain(event))]
            return Decision(letters=[(flow, DeadLetter("delivery_timeout", why, "echo")) for flow in wanted])
        if taken_for == "echo":
            return Decision(suppressed=[(None, "echo")], taken_for="echo") if flows else Decision()
        try:
            decision = self._routed(event, story, flows, since, crowded)
        except CopyAwaited:
            return None
        decision.taken_for = taken_for if flows else None
        return decision

    def issued(self, event: Event, command: Issued) -> None:
        """A command was given."""
        if command.creates:
            self._copies.issued(event.entity_id, command.connection)

    def forget(self) -> None:
        """What was decided last was not done."""
        self._copies.forget()
        self._breaker.reset()

    def _story(self, event: Event, since: float) -> tuple[Story, str | None]:
        """The story that an event belongs to, and what it was taken for if it was suspected."""
        here, act = event.connection, event.act
        current = False
        while True:
            unsettled = self._known.commands.under_way(here, act.recorded_ms + _CLOCKS_DIFFER_MS)
            written_to = here in self._targets or unsettled
            if not suspected(act, self._configuration.accounts.get(here), written_to):
                return event.story, None
            writes = self._known.links.writes(event.entity_id)
            seen_ms = act.recorded_ms + int((time.monotonic() - since) * 1000)  # whatever the gateway's clock says
            verdict = judge(act, writes, max(seen_ms, int(time.time() * 1000)), unsettled)
            if verdict == "wait" and not written_to:  # nobody writes there, whose link could come
                return event.story, None
            if verdict != "near_miss" or current:
                return continued(act, writes, here) or event.story, verdict
            if not self._known.is_current(here, since):
                return event.story, "wait"
            current = True  # now there can be no link that is not in the table: look once more

    def _plain(self, event: Event) -> Callable[[str], str]:
        """What turns a text of the event's system into plain text."""
        section = self._configuration.connections.get(event.connection)
        return as_is if section is None else connector_of(section).plain

    def _routed(self, event: Event, story: Story, flows: Sequence[Flow], since: float, crowded: bool) -> Decision:
        """The commands of those flows that an event starts. Raises CopyAwaited."""
        plain = self._plain(event)

        def twins(object_id: str, connection: str) -> Mapping[str, Any] | None:
            return self._copies.find(object_id, connection, since, crowded)

        decision = Decision()
        wanted = []
        for flow in flows:
            if event.only not in (None, flow.id):
                continue
            try:
                wanted.append((flow, list(route(event, story, flow, plain, twins))))
            except RuleFailed as error:
                decision.letters.append((flow, DeadLetter("rule_violation", str(error), "text")))
            except DeadLetter as letter:
                decision.letters.append((flow, letter))
        for flow, commands in wanted:
            self._gate(event, story, flow, commands, decision)
        return decision

    def _gate(self, event: Event, story: Story, flow: Flow, wanted: Sequence[Issued], decision: Decision) -> None:
        """Lets the commands of one flow through, or those of them that its story may still give."""
        allowed = []
        for command in wanted:
            why = barred(story, command.connection)
            if why is None:
                allowed.append(command)
            else:
                decision.suppressed.append((flow, why))
        at = event.act.recorded_ms / 1000
        for command in allowed:
            if not self._breaker.allows(command.object_id, command.connection, at):
                why = f"too many writes on one object: is something answering {command.connection} by itself?"
                decision.letters.append((flow, DeadLetter("budget_exhausted", why, "breaker")))
                return
        decision.commands += allowed


def _awaited(flows: Mapping[str, Sequence[Flow]]) -> frozenset[str]:
    """The types that flows wait for, and of what creates objects that these flows may be about.

    An echo of the latter waits for its link, so that what comes behind it finds the copy.
    """
    kinds = [EVENT_TYPES[name] for name, found in flows.items() if any(flow.has_targets for flow in found)]
    aggregates = {(kind.entity_type.domain, kind.entity_type.aggregate) for kind in kinds}
    creations = {
        kind.name
        for kind in EVENT_TYPES.values()
        if kind.verb in CREATIONS and (kind.entity_type.domain, kind.entity_type.aggregate) in aggregates
    }
    return frozenset({name for name, found in flows.items() if found} | creations)
