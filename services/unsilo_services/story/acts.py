"""The story, act by act: what somebody does, each hop as it is seen, and whether what should come true did."""

import json
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from .doubles import Double
from .stage import Stage
from .watch import Seen

_SECONDS = 20.0
_LINKED = "unsilo.link.link.asserted.v1"
_QUIET_SECONDS = 1.5  # so long nothing may come where nothing should
_KEY = re.compile('"unsilo_key": "([^"]+)"')  # of a command, in the metadata of what is written for it


@dataclass(slots=True)
class Told:
    """What has happened so far, and what should have and did not."""

    refused: int = 0
    failed: list[str] = field(default_factory=list)


class Story:
    """Seven acts on one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lines = stage.lines
        self.told = Told()
        self._repeats = 0  # deliveries that were sent again on purpose
        self._before: list[str] = []  # what had arrived at Slack before it died

    def tell(self, wanted: Callable[[], bool]) -> None:
        """Plays the acts in their order, as long as they are wanted."""
        acts = (
            self._urgent_ticket,
            self._reply_in_thread,
            self._deal_won,
            self._joiner,
            self._tampered,
            self._redelivery,
            self._receiver_dies,
        )
        for act in acts:
            if wanted():
                act()

    def summary(self) -> str:
        """The last line: what went in, what came out, and what should never be."""
        self._settle()
        delivered = sum(one.type == _LINKED for one in self._stage.watch.seen)
        doubled = len(self._events()) - len({one.id for one in self._events()}) + self._doubled_arrivals()
        lost = self._unaccounted() + self._undelivered()
        if lost or doubled:
            self.told.failed.append("nothing lost, nothing doubled")
        return (
            f"received {self._received()}  published {len(self._events())}  delivered {delivered}  "
            f"refused {self.told.refused}  lost {lost}  doubled {doubled}"
        )

    def _settle(self) -> None:
        """Echoes of the last act are still on their way."""
        end = time.monotonic() + _SECONDS
        while (self._unaccounted() or self._undelivered()) and time.monotonic() < end:
            time.sleep(0.05)

    def _received(self) -> int:
        return sum(one.layer == "raw" for one in self._stage.watch.seen)

    def _events(self) -> list[Seen]:
        return [one for one in self._stage.watch.seen if one.layer == "event" and one.type != _LINKED]

    def _unaccounted(self) -> int:
        """Deliveries that were stored and are neither event nor repeat: each of ours makes one event, none a letter."""
        return self._received() - self._repeats - len(self._events())

    def _undelivered(self) -> int:
        """Commands that were given and not carried out: none of ours is refused."""
        seen = self._stage.watch.seen
        return sum(one.layer == "command" for one in seen) - sum(one.type == _LINKED for one in seen)

    def _urgent_ticket(self) -> None:
        self._begin("Acme's urgent ticket (Zendesk) appears in Slack")
        start = len(self._stage.watch.seen)
        subject = "Acme: nothing prints since this morning"
        act = self._stage.zendesk.act("ticket", subject=subject, body="All three floors.", user="Dana Ortiz")
        self._ticket = int(act["ticket"])
        self._hops(start, "helpdesk", "ticket.ticket.created", "chat", subject)
        self._came_true("the ticket is in #support", lambda: self._said(subject))

    def _reply_in_thread(self) -> None:
        self._begin("The reply there becomes a comment on the ticket, and does not come back")
        reply = "A driver update broke it. Rolling back now."
        root = self._posted("*Acme: nothing prints since this morning*")
        start = len(self._stage.watch.seen)
        self._stage.slack.act("reply", channel="support", text=reply, ts=root, user="Ilse Brandt")
        self._hops(start, "chat", "social.reply.published", "helpdesk", reply)
        path = f"/api/v2/tickets/{self._ticket}.json"
        self._came_true("the comment is on the ticket", lambda: self._commented(path, reply))
        echo = self._stage.watch.wait(
            lambda seen: seen.layer == "audit" and seen.connection == "helpdesk" and "suppressed" in seen.type,
            _SECONDS,
            start,
        )
        if echo is not None:
            self._lines.hop(echo.at, "flows", "echo of it", "known, and left alone")
        self._came_true("its echo starts nothing", lambda: echo is not None)
        self._stays_true("Slack hears nothing of it again", lambda: self._said(reply, whole=True) == 0)
        self._came_true("and the ticket has it once", lambda: self._commented(path, reply) == 1)

    def _deal_won(self) -> None:
        self._begin("Acme's deal is won (Pipedrive) and celebrated")
        start = len(self._stage.watch.seen)
        body = _deal_won("Acme: forty printers")
        self._stage.post("deals", body, self._stage.signed("deals", body))
        self._hops(start, "deals", "crm.opportunity.won", "chat", "Acme: forty printers")
        self._came_true("#wins celebrates", lambda: self._said("Acme: forty printers"))

    def _joiner(self) -> None:
        self._begin("A joiner (BambooHR, field-based body) is welcomed")
        start = len(self._stage.watch.seen)
        body = _joiner("Noor", "Haddad")
        self._stage.post("people", body, self._stage.signed("people", body))
        self._hops(start, "people", "hr.employee.created", "chat", "Noor")
        self._came_true("#general welcomes her", lambda: self._said("Noor Haddad"))

    def _tampered(self) -> None:
        self._begin("A request that was tampered with is refused")
        start = len(self._stage.watch.seen)
        body = _joiner("Mallory", "Nobody")
        answer = self._stage.post("people", body + b" ", self._stage.signed("people", body))
        self._lines.hop(time.monotonic(), "gateway", f"answers {answer.status_code}", "and stores nothing")
        self.told.refused += answer.status_code == 401
        seen = self._stage.watch.wait(lambda one: one.layer == "audit" and "rejected" in one.type, _SECONDS, start)
        if seen is not None:
            self._lines.hop(seen.at, "audit", "event.rejected", str(seen.data["reason"]))
        self._came_true("it is refused, and that is on record", lambda: answer.status_code == 401 and seen is not None)

    def _redelivery(self) -> None:
        self._begin("A delivery that the vendor sends twice happens once")
        body = _deal_won("Acme: toner for a year")
        headers = self._stage.signed("deals", body)
        start = len(self._stage.watch.seen)
        for number in range(2):
            answer = self._stage.post("deals", body, headers)
            self._lines.hop(time.monotonic(), "gateway", f"delivery {number + 1}", f"answers {answer.status_code}")
        self._repeats += 1
        self._hops(start, "deals", "crm.opportunity.won", "chat", "Acme: toner for a year", raw=False)
        self._came_true("it was said", lambda: self._said("Acme: toner for a year"))
        self._stays_true("and was said once", lambda: self._said("Acme: toner for a year") == 1)

    def _receiver_dies(self) -> None:
        self._begin("Slack dies; a ticket and a comment come; Slack is back and catches up, in order")
        slack, zendesk = self._stage.slack, self._stage.zendesk
        self._before = self._keys(slack)
        slack.kill()
        self._lines.hop(time.monotonic(), "Slack", "is gone")
        start = len(self._stage.watch.seen)
        subject, body, more = texts = ["Acme: the scanner beeps", "At every page.", "Now it smokes."]
        zendesk.act("ticket", subject=subject, body=body, user="Dana Ortiz")
        self._hop(start, "command", "chat", "", "flows", "command", "waits for Slack", subject)
        zendesk.act("comment", body=more, user="Dana Ortiz")
        self._hop(start, "event", "helpdesk", "", "normalizer", "ticket.comment.added", "waits for the ticket", more)
        slack.start(f"{self._stage.hub.gateway}/in/chat")
        slack.await_ready()
        self._lines.hop(time.monotonic(), "Slack", "is back")
        for text in texts:
            self._hop(start, "event", "chat", "unsilo.social.", "delivery", "arrived at chat", text, text)
        wanted = [f"*{subject}*", body, more]
        self._came_true("the ticket, and its thread in order", lambda: [x["text"] for x in self._posts()] == wanted)

    def _hops(self, start: int, source: str, kind: str, target: str, text: str, raw: bool = True) -> None:
        """One line for each topic that an event passes."""
        if raw:
            self._hop(start, "raw", source, "", "gateway", "stored", "and only then answered 202")
        event = self._hop(start, "event", source, f"unsilo.{kind}.v1", "normalizer", kind, text, text)
        if event is not None:
            self._follow(start, event, target)

    def _follow(self, start: int, event: Seen, target: str) -> None:
        watch = self._stage.watch
        command = watch.wait(
            lambda seen: seen.layer == "command" and seen.connection == target and seen.causation == event.id,
            _SECONDS,
            start,
        )
        if command is None:
            self._fail(f"no command for {target}")
            return
        self._lines.hop(command.at, "flows", f"{command.data['action']} to {target}", f"by {command.data['flow']}")
        link = watch.wait(lambda seen: seen.layer == "event" and seen.causation == command.id, _SECONDS, start)
        if link is not None:
            self._lines.hop(link.at, "delivery", f"arrived at {target}", "and the copy is linked")

    def _hop(
        self, start: int, layer: str, connection: str, kind: str, where: str, what: str, detail: str, text: str = ""
    ) -> Seen | None:
        seen = self._stage.watch.wait(
            lambda one: (
                one.layer == layer
                and one.connection == connection
                and one.type.startswith(kind)
                and text in json.dumps(one.data, ensure_ascii=False)
            ),
            _SECONDS,
            start,
        )
        if seen is None:
            self._fail(f"nothing of it on {layer}")
        else:
            self._lines.hop(seen.at, where, what, detail)
        return seen

    def _begin(self, title: str) -> None:
        self._stage.hub.watch()
        self._title = title
        self._lines.act(title)

    def _came_true(self, what: str, true: Callable[[], Any]) -> None:
        end = time.monotonic() + _SECONDS
        while not true():
            if time.monotonic() > end:
                self._fail(what)
                return
            time.sleep(0.05)
        self._lines.came_true(what)

    def _fail(self, what: str) -> None:
        self.told.failed.append(f"{what} ({self._title})")
        self._lines.did_not(what)

    def _stays_true(self, what: str, true: Callable[[], bool]) -> None:
        time.sleep(_QUIET_SECONDS)
        self._came_true(what, true)

    def _posts(self) -> list[dict[str, Any]]:
        return [call["body"] for call in self._stage.slack.arrived("chat.postMessage")]

    def _said(self, text: str, whole: bool = False) -> int:
        texts = [str(post["text"]) for post in self._posts() if "thread_ts" not in post or whole]
        return sum(text == said if whole else text in said for said in texts)

    def _posted(self, text: str) -> str:
        """The `ts` of a message that the hub posted."""
        found = self._stage.watch.wait(
            lambda seen: (
                seen.type == "unsilo.social.post.published.v1" and text in str(seen.data["entity"].get("body"))
            ),
            _SECONDS,
        )
        return "" if found is None else str(found.data["entity"]["refs"][0]["id"])

    def _commented(self, path: str, text: str) -> int:
        calls = self._stage.zendesk.arrived(path)
        return sum(text in json.dumps(call["body"], ensure_ascii=False) for call in calls if call["method"] == "PUT")

    def _keys(self, double: Double) -> list[str]:
        return [key for call in double.arrived("/api/") for key in _KEY.findall(json.dumps(call["body"]))]

    def _doubled_arrivals(self) -> int:
        keys = [*self._before, *self._keys(self._stage.slack), *self._keys(self._stage.zendesk)]
        return len(keys) - len(set(keys))


def _deal_won(title: str) -> bytes:
    """A deal of more than ten thousand euros is won, in Pipedrive's words (webhooks v2)."""
    now = datetime.now(UTC)
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    number = int(now.timestamp() * 1000) % 10_000_000
    data = {
        "id": number, "title": title, "status": "won", "stage_id": 5, "pipeline_id": 1, "value": 18250,
        "currency": "EUR", "org_id": 57, "person_id": 902, "owner_id": 12415, "won_time": moment, "close_time": moment,
        "update_time": moment, "add_time": (now - timedelta(days=40)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lost_time": None, "lost_reason": None, "probability": None, "expected_close_date": None, "label_ids": [],
        "custom_fields": {}, "origin": "ManuallyCreated",
    }  # fmt: skip
    meta = {
        "action": "change", "entity": "deal", "entity_id": str(number), "id": str(uuid.uuid4()),
        "company_id": "7011924", "user_id": "12415", "version": "2.0", "change_source": "app", "attempt": 1,
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "type": "general",
        "is_bulk_edit": False, "webhook_id": "3114870", "webhook_owner_id": "12001", "permitted_user_ids": ["12001"],
        "host": "acme.pipedrive.com", "correlation_id": str(uuid.uuid4()),
    }  # fmt: skip
    previous = {"status": "open", "stage_id": 4, "won_time": None, "close_time": None}
    return json.dumps({"data": data, "previous": previous, "meta": meta}, separators=(",", ":")).encode()


def _joiner(given_name: str, family_name: str) -> bytes:
    """Somebody joins, in BambooHR's words (field-based webhook)."""
    now = datetime.now(UTC)
    fields = {"First Name": given_name, "Last Name": family_name, "Department": "Service", "Status": "Active"}
    employee = {
        "id": str(int(now.timestamp())),
        "action": "Created",
        "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S+0000"),
        "changedFields": list(fields),
        "fields": {name: {"value": value} for name, value in fields.items()},
    }
    return json.dumps({"employees": [employee]}, separators=(",", ":")).encode()
