"""`make bench`: what the hub does in a second, and what that costs. JSON to a file, a table to the screen.

The figures depend on the machine and on what else it does: compare two versions in one session, each several times, and
quote the ratio.
"""

import argparse
import json
import operator
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import fill
from types import ModuleType
from typing import Any

import gateway
import latency
import normalizer
from hub import Hub

AT_LEAST = ("at least", operator.ge)
AT_MOST = ("at most", operator.le)
NONE = ("exactly", operator.eq)
FLOORS: dict[str, dict[str, tuple[tuple[str, Callable[[float, float], bool]], float]]] = {
    "normalizer": {"events_per_second": (AT_LEAST, 20_000), "lost_or_doubled": (NONE, 0)},
    "gateway": {"requests_per_second": (AT_LEAST, 2_000), "not_stored": (NONE, 0)},
    "latency": {"p99_ms": (AT_MOST, 250), "lost": (NONE, 0)},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("-n", "--events", type=int, default=1_000_000, help="raw records for the normalizer")
    parser.add_argument("--requests", type=int, default=1_000_000, help="requests for the gateway")
    parser.add_argument(
        "--seconds", type=int, default=2000, help="how long the end-to-end latency is measured, at 500 events a second"
    )
    parser.add_argument("--only", choices=list(FLOORS), help="one of the three")
    parser.add_argument("--json", type=Path, default=Path(".unsilo/bench.json"), help="where the figures go")
    options = parser.parse_args()
    measures = {
        "normalizer": (normalizer, options.events, "raw records"),
        "gateway": (gateway, options.requests, "requests"),
        "latency": (latency, options.seconds, "seconds"),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"python": platform.python_version()}
    missed = 0
    for name, (module, count, unit) in measures.items():
        if options.only in (None, name):
            sys.stderr.write(f"measuring {name} with {count:,} {unit} …\n")
            with Hub() as hub:
                figures = {**module.measure(hub, count), "method": _method(module)}
            found[name] = figures
            options.json.write_text(json.dumps(found, indent=2) + "\n")  # what was measured stays if the next fails
            missed += _table(name, figures)
    sys.stdout.write(f"\nfigures: {options.json}\n")
    return 1 if missed else 0


def _method(module: ModuleType) -> str:
    """How a module measures, in its own words."""
    return " ".join((module.__doc__ or "").partition("Method: ")[2].split())


def _table(name: str, figures: dict[str, Any]) -> int:
    """Shows one measure's figures; how many of them missed their floor."""
    missed = 0
    sys.stdout.write(f"\n{name}\n")
    for figure, value in figures.items():
        if figure == "method":
            sys.stdout.write(fill(value, 100, initial_indent="  ", subsequent_indent="  ") + "\n")
            continue
        note = ""
        if figure in FLOORS[name]:
            (words, holds), floor = FLOORS[name][figure]
            fine = holds(value, floor)
            missed += not fine
            note = f"   {'ok' if fine else 'MISSED'}: {words} {floor:,.0f}"
        sys.stdout.write(f"  {figure.replace('_', ' '):32} {value:>12,}{note}\n")
    sys.stdout.flush()
    return missed


if __name__ == "__main__":
    sys.exit(main())
