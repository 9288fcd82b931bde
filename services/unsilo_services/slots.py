"""Which of the workers of one service on this machine a process is: the lowest number that nobody else holds.

A worker's transactional id must be the same after a restart, so that its predecessor's open transaction is ended at
once, and must never be used twice at a time. A lock on a file gives both; a killed process gives it back by dying.
"""

import fcntl
from pathlib import Path
from typing import IO

from .errors import UnsiloError

_MOST = 256


class DataUnusable(UnsiloError):
    """The data folder cannot be written. The worker does not start."""


class Slot:
    """A number held until the process ends, and the folder that goes with it."""

    def __init__(self, data: Path, service: str, instance: str, hub: str) -> None:
        """`hub` names cluster and prefix: what is cached of one hub means nothing in another."""
        folder = data / "slots"
        for number in range(_MOST):
            lock = _opened(folder / f"{service}-{number}.lock")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self._lock: IO[str] = lock  # closing it would give the number back
            self.name = f"{instance}-{number}"
            self.cache = data / "cache" / hub / f"{service}-{number}"
            return
        raise RuntimeError(f"{_MOST} workers of {service} run on {folder} already")


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        raise DataUnusable(
            f"{path} cannot be written: {error.strerror}: let this user write there, or have UNSILO_DATA name another "
            "folder",
            repr(error),
        ) from error
