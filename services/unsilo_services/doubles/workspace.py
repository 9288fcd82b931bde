"""A Slack workspace: its channels, what was said in them, and the events that Slack makes of it."""

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

TEAM_ID, APP_ID, BOT_ID, BOT_USER_ID = "T0DOUBLE01", "A0DOUBLE01", "B0DOUBLE01", "U0DOUBLE01"

Message = dict[str, Any]


class Failed(Exception):
    """The Web API's word for what is wrong with a call."""


class Workspace:
    """The channels, and all that was said in them."""

    def __init__(self, channels: Sequence[str], clock: Callable[[], datetime]) -> None:
        self.channels = {made_up_id("C", name): name for name in channels}
        self.messages: dict[str, list[Message]] = {channel: [] for channel in self.channels}  # oldest first
        self._clock = clock
        self._last = Decimal(0)

    def channel(self, named: object) -> str:
        """The id of a channel given by id, by name, or by name with a hash sign."""
        name = str(named).removeprefix("#")
        found = next((channel for channel, known in self.channels.items() if name in (channel, known)), None)
        if found is None:
            raise Failed("channel_not_found")
        return found

    def find(self, channel: str, ts: object) -> Message | None:
        return next((message for message in self.messages[channel] if message["ts"] == ts), None)

    def say(self, channel: str, thread_ts: object, **said: Any) -> Message:
        """Adds a message. Where there is no such thread, Slack makes it an ordinary one, and says nothing."""
        message = {"type": "message", "ts": self.ts(), "team": TEAM_ID, **said}
        answered = self.find(channel, thread_ts)
        if answered is not None:
            root = self.find(channel, answered.get("thread_ts")) or answered
            root["thread_ts"] = root["ts"]
            message |= {"thread_ts": root["ts"], "parent_user_id": root["user"]}
        self.messages[channel].append(message)
        return message

    def ts(self) -> str:
        """The time in microseconds, and never the same twice."""
        self._last = max(Decimal(f"{self._clock().timestamp():.6f}"), self._last + Decimal("0.000001"))
        return f"{self._last:.6f}"

    def thread(self, channel: str, ts: object) -> list[Message]:
        """A thread's first message and all replies."""
        found = self.find(channel, ts)
        if found is None:
            raise Failed("thread_not_found")
        root = found.get("thread_ts", found["ts"])
        return [message for message in self.messages[channel] if root in (message["ts"], message.get("thread_ts"))]


def message_event(channel: str, message: Message) -> dict[str, Any]:
    """What the Events API says of a message."""
    return {**message, "channel": channel, "event_ts": message["ts"], "channel_type": "channel"}


def callback(event: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of every event."""
    return {
        "token": "deprecated-and-never-checked",
        "team_id": TEAM_ID,
        "context_team_id": TEAM_ID,
        "context_enterprise_id": None,
        "api_app_id": APP_ID,
        "event": event,
        "type": "event_callback",
        "event_id": "Ev" + uuid.uuid4().hex[:11].upper(),
        "event_time": int(Decimal(event["event_ts"])),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": TEAM_ID,
                "user_id": BOT_USER_ID,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
    }


def blocks(text: str) -> list[dict[str, Any]]:
    section = {"type": "rich_text_section", "elements": [{"type": "text", "text": text}]}
    return [{"type": "rich_text", "block_id": "d0ub", "elements": [section]}]


def made_up_id(prefix: str, name: str) -> str:
    """An id that follows from a name, so that every start of the double has the same ones."""
    return prefix + "0" + hashlib.sha256(name.encode()).hexdigest()[:9].upper()
