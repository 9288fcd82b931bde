"""A data folder belongs to one broker at a time."""

import fcntl
import json
import time
from pathlib import Path

from .failure import BrokerUnavailable

GRACE_SECONDS = 2.0
"""A killed Java takes the system a moment to clear away, its locks last."""
POLL_SECONDS = 0.02


class Claim:
    """A lock on `broker.json` in a folder, and in that file who holds it.

    The system lets go of it when every process that holds it is gone, so none is ever stale.
    """

    def __init__(self, folder: Path) -> None:
        """Raises BrokerUnavailable, naming the holder, if the folder is somebody else's."""
        self._file = (folder / "broker.json").open("a+b", buffering=0)
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._locked():
            if time.monotonic() > deadline:
                with self._file:
                    self._file.seek(0)
                    raise _held(folder, self._file.read().decode())
            time.sleep(POLL_SECONDS)
        self._file.truncate(0)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """For a child that is to hold the claim too."""
        return self._file.fileno()

    def sign(self, pid: int, bootstrap: str) -> None:
        """Says who holds it, for the error of whoever comes second."""
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": pid, "bootstrap": bootstrap}).encode())

    def release(self) -> None:
        self._file.truncate(0)
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


def _held(folder: Path, signature: str) -> BrokerUnavailable:
    try:
        holder = json.loads(signature)
    except ValueError:  # it has only just claimed the folder
        who, use = "a broker that is just starting", ""
    else:
        who = f"the broker at {holder['bootstrap']} (pid {holder['pid']})"
        use = f"use that one (UNSILO_KAFKA_BOOTSTRAP={holder['bootstrap']}), "
    return BrokerUnavailable(
        f"{folder} is in use by {who}: {use}stop it, or name another folder with UNSILO_DATA", signature
    )
