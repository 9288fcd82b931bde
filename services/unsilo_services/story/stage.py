"""Sets the story up: Kafka, the hub's services, the doubles, four connections, and somebody who reads along."""

import fcntl
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx

from ..config_files import read
from ..config_topic import changes, entries, publish
from ..configuration import Configuration, connection_of, connector_of, declared, from_environment, topics_of
from ..errors import UnsiloError
from ..follow import await_followed, unknown_accounts
from ..local_hub import HubNotReady, LocalHub, require_no_hub
from ..settings import HubSettings, note_addresses
from .doubles import Double
from .lines import Lines
from .watch import Watch

_FOLLOW_SECONDS = 30.0
_CHANNELS = ("general", "support", "wins")


class AlreadyTold(UnsiloError):
    """Another story is being told in this folder. This one does not begin."""


class Stage:
    """All that the story needs, from the first process to the last."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.data = HubSettings().data.absolute() / "story"

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            self._claim(begun)
            self._set_up(begun)
            self._ends = begun.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.close()

    def signed(self, connection: str, body: bytes) -> Mapping[str, str]:
        """The headers with which the vendor would send a body."""
        section = self.configuration.connections[connection]
        settings = connection_of(section, from_environment).settings
        return {"content-type": "application/json", **connector_of(section).sign(body, settings, datetime.now(UTC))}

    def post(self, connection: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Posts a body to the front door."""
        return self._http.post(f"/in/{connection}", content=body, headers=headers)

    def _claim(self, begun: ExitStack) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        lock = begun.enter_context((self.data.parent / "story.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyTold(f"a story is being told in {self.data.parent} already: stop it first") from None
        require_no_hub(HubSettings())  # whose addresses would be overwritten, and then forgotten
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir()

    def _set_up(self, begun: ExitStack) -> None:
        secret = secrets.token_hex(16)
        secret_file = self.data / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret)
        settings = HubSettings(data=self.data)
        self.hub = LocalHub(settings, ephemeral=True, workers=1, say=self.lines.note)
        channels = [option for name in _CHANNELS for option in ("--channel", name)]
        self.slack = Double("slack", secret, self.data / "slack.log", channels)
        self.zendesk = Double("zendesk", secret, self.data / "zendesk.log", ["--email", "hub@example.org"])
        for double in (self.zendesk, self.slack):
            begun.callback(double.stop)
        begun.callback(self.hub.stop)
        self.slack.start(f"{self.hub.gateway}/in/chat")  # first: delivery asks them who the hub is there
        self.zendesk.start(f"{self.hub.gateway}/in/helpdesk")
        kafka = self.hub.start_kafka()
        self.lines.note(f"Kafka answers at {kafka.bootstrap}")
        for double in (self.slack, self.zendesk):
            double.await_ready()
        self.configuration = self._configure()
        self.hub.start_services({"UNSILO_DATA": str(self.data)})
        layers = declared(self.configuration, self.hub.topics)
        watched = [topic.name for topic in layers if ".ledger." not in topic.name and ".config" not in topic.name]
        self.watch = Watch(kafka, watched, settings.topic_prefix)
        self.watch.start()
        begun.callback(self.watch.stop)
        self.hub.await_ready()
        note_addresses(HubSettings(), {"gateway": self.hub.gateway, "bootstrap": kafka.bootstrap})
        begun.callback(note_addresses, HubSettings(), {})
        self._http = begun.enter_context(httpx.Client(base_url=self.hub.gateway, timeout=30, trust_env=False))
        self._await_followed()

    def _configure(self) -> Configuration:
        text = (Path(__file__).parent / "unsilo.yaml").read_text(encoding="utf-8")
        places = {
            "gateway": self.hub.gateway,
            "slack": self.slack.url,
            "zendesk": self.zendesk.url,
            "folder": self.data,
        }
        file = self.data / "unsilo.yaml"
        file.write_text(text.format(**places), encoding="utf-8")
        configuration = read([file])
        kafka, topics = self.hub.kafka, self.hub.topics
        kafka.create(topics_of(configuration, topics))
        publish(kafka, topics.config(), changes({}, entries(configuration), prune=False))
        return configuration

    def _await_followed(self) -> None:
        """Until every service reads what it should, and knows under which ids the hub acts."""
        kafka, topics = self.hub.kafka, self.hub.topics
        missing = await_followed(kafka, topics, self.configuration, _FOLLOW_SECONDS, absent_is_fine=False)
        end = time.monotonic() + _FOLLOW_SECONDS
        while not missing and unknown_accounts(kafka, topics):
            if time.monotonic() > end:
                missing = [f"nobody says who the hub is at {name}" for name in unknown_accounts(kafka, topics)]
            time.sleep(0.1)
        if missing:
            raise HubNotReady(f"{'; '.join(missing)}; the logs: {self.hub.logs}")
