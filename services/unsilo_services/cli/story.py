"""`unsilo story`: what `make run` runs."""

from typing import Annotated

import typer

from .up import Interrupt


def story(
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the last act: exit code 0 if all came true.")
    ] = False,
) -> None:
    """Run a whole hub beside doubles of Slack and Zendesk, and tell one story that crosses four systems, live.

    Keeps nothing: its data is in .unsilo/story, and is new each time. Example: unsilo story --once
    """
    from ..story.app import run

    stopping = Interrupt()
    if run(once, lambda: not stopping.asked) or (once and stopping.asked):
        raise typer.Exit(1)
