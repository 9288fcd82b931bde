"""Lets a command die with its parent: `python leash.py PARENT COMMAND…` turns into COMMAND. Linux only.

A script of its own and no `preexec_fn`, which would run Python between fork and exec: that can hang in a process with
threads, and every Kafka client has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """SIGKILL, not SIGTERM: nobody is left to notice a shutdown that hangs, and Kafka recovers from a kill."""
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit("this system does not let a process die with its parent")
    if os.getppid() != parent:
        sys.exit("the process that wanted this one died before it began")
    os.execv(command[0], command)  # noqa: S606  # no shell is the point


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
