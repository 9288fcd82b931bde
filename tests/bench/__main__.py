"""`make bench`: what the hub does in a second, and what that costs."""

import argparse
import json
import sys

from hub import Hub
from normalizer import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--events", type=int, default=1_000_000)
    options = parser.parse_args()
    with Hub() as hub:
        sys.stdout.write(json.dumps(measure(hub, options.events), indent=2) + "\n")


if __name__ == "__main__":
    main()
