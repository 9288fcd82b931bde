"""`unsilo trace`: what became of something."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .hub import Hub, named
from .moments import lasting, moment
from .output import AsJson, console, counted, show_json, shown, tell
from .stories import Step, Story, told
from .tables import show_rows
from .trail import Findings, Reference, Search


def trace(
    reference: Annotated[str, typer.Argument(metavar="REF", help="CONNECTION:REMOTE-ID, or an id of the hub's own.")],
    since: Annotated[str, typer.Option(help="Search from then on: so long ago (30s, 10m, 2h, 1d), or a time.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, help="Events to tell of at most: the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Follow something through the hub: delivery, event, command, answer or dead letter, with times and latencies.

    REF is an object (`helpdesk:5158`; with a connector's name, in all of its connections), or the id of an event, a
    command or an entity. An event's time is that of its publication; latencies count from the story's delivery.

    Example: unsilo trace helpdesk:5158 --since 2h
    """
    start = moment(since)
    hub = Hub.reach()
    meant = Reference.parse(hub, reference)
    found = Search(hub, meant, start, limit).run()
    stories = told(found)
    searched = {
        "since": start.isoformat() if as_json else shown(start),
        "topics": sum(read.topics for read in found.read),
        "records": sum(read.records for read in found.read),
    }
    if as_json:
        show_json({"reference": reference, "stories": [_json(story) for story in stories], "read": searched})
    else:
        for number, story in enumerate(stories):
            if number:
                console.print()
            show_rows([_row(story, step) for step in story.steps], False, "", spare=["where"])
        _say(found, searched, stories, meant)
    if not stories:
        raise typer.Exit(1)


def _say(found: Findings, searched: dict[str, Any], stories: Sequence[Story], meant: Reference) -> None:
    if found.left_out:
        tell(f"{len(found.left_out)} older events are left out: --limit shows more")
    what = f"read {counted(searched['records'], 'record')} since {searched['since']}"
    if stories:
        tell(what)
        return
    tell(f"nothing found: {what}; --since goes further back")
    for name in sorted(meant.connections):
        tell(f"a delivery that was refused left no trace: `unsilo connections show {name}` tells of those")


def _row(story: Story, step: Step) -> dict[str, Any]:
    after = (step.at - story.began_at).total_seconds()
    return {
        "at": step.at,
        "after": f"+{lasting(after)}" if after >= 0.001 else "",
        "step": step.kind,
        "connection": step.connection,
        "where": "" if step.place is None else named(step.place),
        "what": step.what if step.kind != "dead" else f"{step.id} {step.what}",
    }


def _json(story: Story) -> dict[str, Any]:
    return {
        "id": story.id,
        "steps": [
            {
                "kind": step.kind,
                "at": step.at.isoformat(),
                "after_ms": round((step.at - story.began_at).total_seconds() * 1000),
                "connection": step.connection,
                "what": step.what,
                "id": step.id,
                "place": None if step.place is None else named(step.place),
            }
            for step in story.steps
        ],
    }
