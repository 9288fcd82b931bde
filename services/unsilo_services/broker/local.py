"""A real Kafka on this machine, without Docker: one Java process with its data in a folder."""

import base64
import errno
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .claim import Claim
from .failure import BrokerUnavailable, explain
from .jars import class_path, kafka_version
from .java import Java
from .probe import cluster_at, coordinates

SETTINGS = Path(__file__).with_name("server.properties")
HOST = "127.0.0.1"
START_SECONDS = 120.0
"""After a kill, everything not flushed is read again before the first answer."""
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
PORT_ATTEMPTS = 5


class LocalKafka:
    """One Kafka node, broker and controller, that listens on 127.0.0.1 only.

    What it holds lies in `data` and survives restarts. With `ephemeral` it lies in a temporary folder that `stop`
    deletes, and `data` stays untouched; of a broker that failed, the log is left for whoever reads the error.

    On Linux it dies with the process that started it, however that ends (see leash.py). Elsewhere a killed parent
    leaves it behind; the next start on the same data then names its pid.
    """

    bootstrap: str
    """Address for clients, once started."""
    log_path: Path
    """What it and its Java print, from this start on; the log of the start before has `.1` added."""
    pid: int

    def __init__(self, data: Path, *, port: int | None = None, ephemeral: bool = False, heap_mb: int = 512) -> None:
        """Without `port`, that of the start before is taken, or a free one where somebody else has it."""
        self._folder = data.absolute()
        self._port = port
        self._ephemeral = ephemeral
        self._heap_mb = heap_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._claim: Claim | None = None
        self._temporary: Path | None = None
        self._answered = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it answers and has its coordinators. Raises BrokerUnavailable, with nothing left running."""
        self._java = Java(class_path(), self._heap_mb)
        self._answered = False
        try:
            if self._ephemeral:
                self._folder = self._temporary = Path(tempfile.mkdtemp(prefix="unsilo-kafka-"))
            self._folder.mkdir(parents=True, exist_ok=True)
            self._topics = self._folder / "topics"
            self.log_path = Path(f"{self._temporary}.log") if self._temporary else self._folder / "broker.log"
            self._claim = Claim(self._folder)
            if self.log_path.exists():
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
            self._launch(self._claim)
        except OSError as error:
            self.stop()
            raise _unusable(self._folder, error) from error
        except BaseException:
            self.stop()
            raise
        self._answered = True

    def restart(self) -> None:
        """Starts it again once it has ended, where its clients look for it. Raises BrokerUnavailable."""
        assert self._claim is not None  # noqa: S101  # it was started
        self._port = int(self.bootstrap.rpartition(":")[2])
        try:
            if self.log_path.exists():
                self.log_path.replace(self.log_path.with_suffix(".log.1"))
            self._launch(self._claim)
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def poll(self) -> int | None:
        """The exit code of a broker that has ended (negative: by that signal); None while it runs."""
        return self._process.poll() if self._process else None

    def failure(self) -> BrokerUnavailable:
        """Why it has ended, or does not answer: for whoever saw `poll` return a code."""
        return explain(self.poll(), self.log_path, self._folder)

    def stop(self) -> None:
        """Ends it in order, or by force if that takes too long. What it has acknowledged is kept, unless ephemeral."""
        failed = not self._answered or self.poll() is not None
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._claim:
            self._claim.release()
            self._claim = None
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
            if not failed:
                self.log_path.unlink(missing_ok=True)
            self._temporary = None

    def _launch(self, claim: Claim) -> None:
        """Between finding a port and Kafka's listening there, another program can take it: then it gets another one."""
        before = _port_before(self._folder)
        for attempt in range(PORT_ATTEMPTS):
            if self._port:
                _require_free(self._port)
            wanted = self._port or (before if attempt == 0 else None)
            port, controller = (wanted, *free_ports(1)) if wanted else free_ports(2)
            self.bootstrap = f"{HOST}:{port}"
            self._format_once(claim, port, controller)
            self._configure(self._topics, port, controller)
            self._run(claim, "kafka.Kafka", "server.properties")
            if self._await_answer(port):
                return
            if self.poll() is None or "Address already in use" not in self.log_path.read_text(errors="replace"):
                break
        raise self.failure()

    def _format_once(self, claim: Claim, port: int, controller: int) -> None:
        """Gives new data its cluster id. Done beside the place, then moved there: half of it never counts."""
        if self._topics.exists():
            return
        fresh = self._folder / "topics.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._configure(fresh, port, controller)
        format_options = ("-t", _new_cluster_id(), "-c", "server.properties")
        if self._run(claim, "kafka.tools.StorageTool", "format", *format_options).wait() != 0:
            raise self.failure()
        fresh.rename(self._topics)

    def _configure(self, topics: Path, port: int, controller: int) -> None:
        """Paths are relative to the data folder, where Java starts: Kafka would split an absolute one at a comma."""
        lines = (
            SETTINGS.read_text(),
            "node.id=1",
            f"listeners=PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
            f"controller.quorum.voters=1@{HOST}:{controller}",
            f"log.dirs={topics.name}",
        )
        (self._folder / "server.properties").write_text("\n".join([*lines, ""]))

    def _run(self, claim: Claim, *program: str) -> subprocess.Popen[bytes]:
        """Java holds the claim too: a folder with an orphan in it is not free."""
        process = self._java.start(*program, folder=self._folder, log=self.log_path, holding=claim.fileno())
        self._process, self.pid = process, process.pid
        claim.sign(self.pid, self.bootstrap)
        return process

    def _await_answer(self, port: int) -> bool:
        """The cluster's id is compared, because another Kafka may be the one that answers."""
        cluster = _cluster_id(self._topics)
        deadline = time.monotonic() + START_SECONDS
        while self.poll() is None and time.monotonic() < deadline:
            if cluster_at(HOST, port) == cluster and coordinates(HOST, port):
                return True
            time.sleep(POLL_SECONDS)
        return False


def run(data: Path, *, port: int | None = None, ephemeral: bool = False, as_json: bool = False) -> None:
    """Runs it in the foreground until SIGINT or SIGTERM, after one line that says where. Raises BrokerUnavailable."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalKafka(data, port=port, ephemeral=ephemeral) as kafka:
            place = {"bootstrap": kafka.bootstrap, "pid": kafka.pid, "log": str(kafka.log_path)}
            line = f"Kafka {kafka_version()} answers at {kafka.bootstrap}. Its log: {kafka.log_path}. Ctrl-C stops it."
            sys.stdout.write(f"{json.dumps(place) if as_json else line}\n")
            sys.stdout.flush()
            while kafka.poll() is None:
                time.sleep(POLL_SECONDS)
            raise kafka.failure()
    except KeyboardInterrupt:
        return


def _new_cluster_id() -> str:
    """22 characters of URL-safe base64, as Kafka writes its ids; never with a dash first, which would be an option."""
    first, *rest = uuid.uuid4().bytes
    return base64.urlsafe_b64encode(bytes([first & 0x7F, *rest])).decode().rstrip("=")


def _cluster_id(topics: Path) -> str:
    lines = (topics / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]


def _port_before(folder: Path) -> int | None:
    """Where the start before listened, so that its clients find this one; None where that is not free any more."""
    try:
        found = re.search(
            r"^listeners=PLAINTEXT://[^:]+:(\d+)", (folder / "server.properties").read_text(), re.MULTILINE
        )
    except OSError:
        return None
    if found is None:
        return None
    try:
        _require_free(int(found[1]))
    except BrokerUnavailable:
        return None
    return int(found[1])


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        return [held.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(count)]


def _require_free(port: int) -> None:
    try:
        socket.create_server((HOST, port)).close()
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "another program listens there" if taken else str(error)
        raise BrokerUnavailable(
            f"port {port} of {HOST} cannot be used ({reason}): free it, or give another one", repr(error)
        ) from error


def _unusable(folder: Path, error: OSError) -> BrokerUnavailable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space and start it again" if full else "put that right, or name another folder"
    return BrokerUnavailable(
        f"the local Kafka cannot keep its data in {folder} ({error.strerror}): {remedy}", repr(error)
    )
