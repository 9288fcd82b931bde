"""`python -m unsilo_services.broker` runs the local Kafka in the foreground; with `lock`, it locks its jars anew."""

import argparse
import sys
from pathlib import Path

from ..errors import UnsiloError
from . import jars, local


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m unsilo_services.broker", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["run", "lock"], default="run")
    parser.add_argument("--data", type=Path, default=Path(".unsilo/kafka"), help="folder that keeps what it holds")
    parser.add_argument("--port", type=int, help="port for clients; a free one if none is given")
    parser.add_argument("--ephemeral", action="store_true", help="keep nothing")
    parser.add_argument("--json", action="store_true", help="say where it runs as JSON")
    options = parser.parse_args()
    try:
        if options.action == "lock":
            jars.lock()
        else:
            local.run(options.data, port=options.port, ephemeral=options.ephemeral, as_json=options.json)
    except UnsiloError as error:
        sys.stderr.write(f"{error.operator}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
