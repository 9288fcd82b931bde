"""Two opposite flows between Zendesk and Slack: one copy of each message, and nothing comes back.

The whole hub runs as the processes that it is; the systems are doubles, which tell it of all that is written to them.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from unsilo_connectors.secrets import Resolved
from unsilo_connectors.slack.settings import SlackSettings
from unsilo_connectors.zendesk.settings import ZendeskSettings
from unsilo_services.configuration import ConnectionSection
from unsilo_services.doubles import slack, zendesk
from unsilo_services.kafka import Message, TopicPartition

from tests.services.remotes import Double, served
from tests.services.running import SECRET, Gateway, Process, eventually
from tests.services.writing import Writing, number, writing_hub

pytestmark = pytest.mark.kafka

FLOWS: list[dict[str, Any]] = [
    {
        "id": "urgent-tickets",
        "on": "ticket.ticket.created",
        "when": 'entity.priority.category == "urgent"',
        "do": [{"deliver": "chat", "action": "post", "with": {"channel": "support", "text": "{{ entity.title }}"}}],
    },
    {
        "id": "ticket-to-thread",
        "on": "ticket.comment.added",
        "do": [{"deliver": "chat", "action": "reply", "to": "ticket", "with": {"text": "{{ entity.body }}"}}],
    },
    {
        "id": "thread-to-ticket",
        "on": "social.reply.published",
        "do": [
            {"deliver": "helpdesk", "action": "comment", "to": "thread", "with": {"body": "{{ entity.body|plain }}"}}
        ],
    },
]
GROUPS = {"normalizer": "raw", "flows": "event", "delivery": "command"}


@dataclass
class Stage:
    """The hub, its processes and both systems."""

    hub: Writing
    desk: Double
    chat: Double
    gateway: Gateway
    services: dict[str, Process]

    def kill(self, *services: str) -> None:
        """Ends services as a power cut would, and starts them again."""
        for name in services:
            self.services[name].send(signal.SIGKILL)
            self.services[name].process.wait()
        for name in services:
            self.services[name] = self.hub.start(name)

    def behave(self, **how: Any) -> None:
        self.desk.behave(**how)
        self.chat.behave(**how)

    def messages(self) -> list[dict[str, Any]]:
        """All that was said in the channel, threads too, as Slack shows it."""
        [channel] = self.chat.look("/__workspace")["channels"]
        said = self._asked("conversations.history", channel=channel)
        return [one for root in said for one in self._asked("conversations.replies", channel=channel, ts=root["ts"])]

    def _asked(self, method: str, **query: str) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {SECRET}"}
        answer = httpx.get(f"{self.chat.url}/api/{method}", params={**query, "limit": "1000"}, headers=headers)
        return list(answer.json()["messages"])

    def calls(self) -> list[dict[str, Any]]:
        """The messages that the hub has asked Slack to post, also those whose answer is not out yet."""
        return [call["body"] for call in self.chat.arrived("chat.postMessage")]

    def posted(self, text: str) -> str | None:
        """The `ts` of the message with a text, once the hub was told of it."""
        told = [item["body"]["event"] for item in self.chat.look("/__sent")]
        return next((event["ts"] for event in told if event["text"] == text), None)

    def comments(self, ticket: int) -> list[str]:
        """What stands on a ticket, its description first."""
        [found] = [one for one in self.desk.look("/__tickets") if one["id"] == ticket]
        return [event["body"] for audit in found["audits"] for event in audit["events"] if event["type"] == "Comment"]

    def await_quiet(self) -> None:
        """Returns when every webhook has been taken in and nothing is left to be done about any."""
        eventually(lambda: all(item["status"] == 202 for item in self.sent()), "the webhooks")
        before: dict[Any, int] = {}

        def quiet() -> bool:
            nonlocal before
            seen, before = before, self.ends()
            return seen == before and all(self.done(group) for group in GROUPS)

        eventually(quiet, "the end of all work")

    def reasons(self) -> set[str]:
        """Why events started nothing: nothing else than being known for what they are should ever be needed."""
        notes = [json.loads(message.value() or b"{}") for message in self.hub.audit()]
        return {note["why"] for note in notes if note.get("outcome") == "loop_suppressed"}

    def sent(self) -> Sequence[dict[str, Any]]:
        return [*self.desk.look("/__sent"), *self.chat.look("/__sent")]

    def ends(self) -> dict[Any, int]:
        return self.hub.kafka.end_offsets([place for group in GROUPS for place in self.places(group)])

    def done(self, group: str) -> bool:
        """Whether a service has finished every record that it reads."""
        committed = self.hub.kafka.committed(f"{self.hub.prefix}.{group}", self.places(group))
        left: list[Message] = []
        self.hub.kafka.read_to_end([TopicPartition(*at, offset) for at, offset in committed.items()], left.append)
        return not left

    def places(self, group: str) -> list[TopicPartition]:
        names = [name for name in self.hub.all_topics if name.startswith(f"{self.hub.prefix}.{GROUPS[group]}.")]
        return [TopicPartition(name, n) for name in names for n in range(self.hub.kafka.partitions(name))]


@pytest.fixture(scope="module")
def stage(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    secret = Resolved(SECRET)
    with writing_hub(kafka_bootstrap, tmp_path_factory.mktemp("hub")) as hub:
        gateway = hub.start_gateway()
        here = SlackSettings.model_validate({"signing_secret": secret, "token": secret})

        def make_desk(url: str) -> Any:
            settings = {"signing_secret": secret, "token": secret, "url": url, "email": "hub@acme.example"}
            return zendesk.create_app(ZendeskSettings.model_validate(settings), f"{gateway.url}/in/helpdesk")

        with (
            served(make_desk) as desk,
            served(lambda url: slack.create_app(here, f"{gateway.url}/in/chat", ["support"])) as chat,
        ):
            env = {"env": "SECRET"}
            common = {"signing_secret": env, "token": env}
            hub.configure(
                [
                    ConnectionSection(
                        id="helpdesk", connector="zendesk", audience="internal",
                        settings={**common, "url": desk.url, "email": "hub@acme.example"},
                    ),
                    ConnectionSection(
                        id="chat", connector="slack", audience="internal",
                        settings={**common, "api_url": f"{chat.url}/api"},
                    ),
                ],
                FLOWS,
            )  # fmt: skip
            services = {name: hub.start(name) for name in ("normalizer", "flows", "delivery")}
            eventually(lambda: chat.arrived("auth.test") and desk.arrived("users/me"), "delivery to ask who we are")
            yield Stage(hub, desk, chat, gateway, services)
            hub.stop()


@dataclass
class Story:
    """A ticket and what is said about it on both sides; every text is its own."""

    stage: Stage
    name: str
    ticket: int = 0

    def begin(self) -> None:
        said = self.stage.desk.act("ticket", subject=f"{self.name} title", body=f"{self.name} description")
        self.ticket = int(said["ticket"])

    def answer_in_thread(self, ts: str) -> None:
        text = f"{self.name} answer <@U1|ana> &amp; co"
        self.stage.chat.act("reply", channel="support", text=text, ts=ts)

    def comment_on_ticket(self) -> None:
        self.stage.desk.act("comment", body=f"{self.name} remark", ticket=self.ticket)

    def assert_told_once(self) -> None:
        """One copy of each, in the thread and on the ticket, and none of any copy."""
        said = [message for message in self.stage.messages() if message["text"].startswith(self.name + " ")]
        assert Counter(message["text"] for message in said) == {
            f"{self.name} {what}": 1 for what in ("title", "description", "remark", "answer <@U1|ana> &amp; co")
        }
        ts = self.stage.posted(f"{self.name} title")
        assert {message.get("thread_ts") for message in said} == {ts}
        assert Counter(self.stage.comments(self.ticket)) == {
            f"{self.name} {what}": 1 for what in ("description", "remark", "answer @ana & co")
        }


@pytest.mark.parametrize("echo", ["before", "after"])
def test_each_message_has_one_copy_on_the_other_side_and_nothing_comes_back(stage: Stage, echo: str) -> None:
    stage.behave(echo=echo, delay_seconds=0)
    story = Story(stage, f"{echo}-{number()}")
    story.begin()
    ts = eventually(lambda: stage.posted(f"{story.name} title"), "the ticket in the channel")
    story.answer_in_thread(ts)
    eventually(lambda: f"{story.name} answer @ana & co" in stage.comments(story.ticket), "the answer on the ticket")
    story.comment_on_ticket()
    eventually(lambda: stage.posted(f"{story.name} remark"), "the remark in the thread")
    stage.await_quiet()
    story.assert_told_once()
    assert stage.reasons() == {"echo"}
    assert stage.hub.read(*(stage.hub.topics.dead(name).name for name in GROUPS)) == []


def test_answers_that_come_at_once_lose_nothing(stage: Stage) -> None:
    """The people are faster than the hub: it has not read a link yet when they answer what the link is about."""
    stage.behave(echo="before", delay_seconds=0.2)
    stories = [Story(stage, f"fast{n}-{number()}") for n in range(4)]
    for story in stories:
        story.begin()
        story.comment_on_ticket()
    for story in stories:
        story.answer_in_thread(eventually(lambda story=story: stage.posted(f"{story.name} title")))  # type: ignore[misc]  # mypy knows no type of the default
    stage.behave(delay_seconds=0)
    for story in stories:
        eventually(lambda story=story: len(stage.comments(story.ticket)) == 3)  # type: ignore[misc]  # mypy knows no type of the default
    stage.await_quiet()
    for story in stories:
        story.assert_told_once()


@pytest.mark.parametrize("echo", ["before", "after"])
def test_kills_of_flows_and_delivery_with_calls_out_lose_and_double_nothing(stage: Stage, echo: str) -> None:
    stage.behave(echo=echo, delay_seconds=0)
    stories = [Story(stage, f"kill{n}-{number()}") for n in range(3)]
    for story in stories:
        story.begin()
    threads = [eventually(lambda story=story: stage.posted(f"{story.name} title")) for story in stories]  # type: ignore[misc]  # mypy knows no type of the default
    stage.await_quiet()
    said, written = len(stage.calls()), sum(len(stage.comments(story.ticket)) for story in stories)
    stage.behave(delay_seconds=4)
    for story, ts in zip(stories, threads, strict=True):
        story.answer_in_thread(ts)
        story.comment_on_ticket()
    eventually(lambda: sum(len(stage.comments(story.ticket)) for story in stories) > written + len(stories))
    eventually(lambda: len(stage.calls()) > said)
    stage.kill("flows", "delivery")
    stage.behave(delay_seconds=0)
    for story in stories:
        eventually(lambda story=story: len(stage.comments(story.ticket)) == 3)  # type: ignore[misc]  # mypy knows no type of the default
        eventually(lambda story=story: stage.posted(f"{story.name} remark"))  # type: ignore[misc]  # mypy knows no type of the default
    stage.await_quiet()
    for story in stories:
        story.assert_told_once()
    assert stage.reasons() == {"echo"}
    assert all(service.alive() for service in stage.services.values())
