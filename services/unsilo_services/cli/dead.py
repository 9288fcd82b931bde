"""`unsilo dead`: what could not be processed, why, and putting it back once that is mended."""

from datetime import datetime
from typing import Annotated, Any

import typer
from unsilo_schemas.topics import CONSUMERS

from ..kafka import headers_of
from .hub import Hub, named, texts
from .letters import REMEDIES, Letter, Wanted, letter_of, letters, marked, parsed, reasons
from .moments import Since, Until, moment
from .output import AsJson, console, fail, printable, show_json, shown, tell
from .redrive import Redrive, Return, planned
from .tables import show_facts, show_rows

dead_app = typer.Typer(no_args_is_help=True, help="What could not be processed: list it, look at it, put it back.")

Reason = Annotated[str | None, typer.Option(help=f"Only of this reason: {', '.join(reasons())}.")]
Connection = Annotated[str | None, typer.Option(help="Only of this connection.")]
Consumer = Annotated[str | None, typer.Option(help=f"Only letters of this service: {', '.join(CONSUMERS)}.")]


@dead_app.command("list")
def list_letters(
    reason: Reason = None,
    connection: Connection = None,
    consumer: Consumer = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="The newest so many; 0: all.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest last, and which of them were put back already.

    Example: unsilo dead list --connection helpdesk --since 2h
    """
    wanted = _wanted(reason, connection, consumer, since, until)
    found = letters(Hub.reach(), wanted)
    kept = found[-limit:] if limit else found
    show_rows([_json(letter) if as_json else letter.row for letter in kept], as_json, "no such dead letters")
    if len(kept) < len(found):
        tell(f"the newest {len(kept)} of {len(found)}: --limit 0 shows all")


@dead_app.command("show")
def show_letter(
    id: Annotated[str, typer.Argument(help="A letter's id, as `unsilo dead list` shows it.")],
    payload: Annotated[bool, typer.Option("--payload", help="Its payload too: it may hold personal data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: why it is dead, what to do, and its headers, whose secrets were masked on arrival.

    Example: unsilo dead show normalizer/0/17 --payload
    """
    hub = Hub.reach()
    letter = _letter(hub, id)
    message = next(iter(hub.at([letter.place])))
    facts = {
        "id": letter.id,
        "connection": letter.connection,
        "reason": letter.reason,
        "error": letter.error,
        "remedy": REMEDIES.get(letter.reason, ""),  # type: ignore[call-overload]  # a later version's reasons too
        "stage": letter.stage,
        "flow": letter.flow,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_at,
        "died_at": letter.died_at,
        "of": named(letter.origin),
        "redrive_of": letter.redrive_of,
        "redriven_at": letter.redriven_at,
        "bytes": letter.bytes,
    }
    headers = {name: text for name, text in texts(headers_of(message)).items() if not name.startswith("dl_")}
    text = (message.value() or b"").decode("utf-8", "backslashreplace")
    if as_json:
        show_json({**facts, "headers": headers, **({"payload": text} if payload else {})})
        return
    times = {
        "first_failed_at": _shown(letter.first_at),
        "died_at": shown(letter.died_at),
        "redriven_at": shown(letter.redriven_at),
    }
    show_facts({**facts, **times}, False)
    console.print()
    show_facts({name: printable(value) for name, value in headers.items()}, False, verbatim=True)
    if payload:
        console.print()
        console.print(printable(text), markup=False, soft_wrap=True)


@dead_app.command("redrive")
def redrive(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of letters; or choose by the options.")] = None,
    reason: Reason = None,
    connection: Connection = None,
    consumer: Consumer = None,
    since: Since = None,
    until: Until = None,
    again: Annotated[bool, typer.Option("--again", help="Those too that were put back already.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this, it only says what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back where they failed, as they were. Says what would be done, unless --yes.

    Example: unsilo dead redrive --reason source_unmapped --connection helpdesk --yes
    """
    filters = (reason, connection, consumer, since, until)
    if bool(ids) == any(item is not None for item in filters):
        raise fail("say which letters: their ids, or else --reason, --connection, --consumer, --since or --until")
    wanted = _wanted(*filters)
    hub = Hub.reach()
    act = Redrive(hub) if yes else None
    chosen = [_letter(hub, text) for text in dict.fromkeys(ids)] if ids else letters(hub, wanted)
    plan = planned(hub, chosen, again)
    stuck = [item for item in plan if item.obstacle is not None]
    if ids and stuck:
        raise fail("\n".join(f"{item.letter.id} {item.obstacle}" for item in stuck))
    free = [item for item in plan if item.obstacle is None]
    done = 0
    for count in act.put_back(free) if act is not None and free else ():
        done += count
    rows = [_row(item) for item in plan]
    if as_json:
        show_json({"redriven": done, "dry_run": not yes, "letters": rows})
        return
    show_rows(rows, False, "no such dead letters")
    if yes:
        tell(f"{done} put back, {len(plan) - done} not; `unsilo dead list` shows what fails anew")
    elif free:
        tell(f"{len(free)} would be put back, {len(stuck)} would not: --yes does it")


def _wanted(
    reason: str | None, connection: str | None, consumer: str | None, since: str | None, until: str | None
) -> Wanted:
    for given, known in ((reason, reasons()), (consumer, CONSUMERS)):
        if given is not None and given not in known:
            raise fail(f"{given!r} is not one of {', '.join(known)}")
    return Wanted(
        reason, connection, consumer, None if since is None else moment(since), None if until is None else moment(until)
    )


def _letter(hub: Hub, text: str) -> Letter:
    place = parsed(hub, text)
    if place is None or not place[0].startswith(f"{hub.topics.prefix}.dead."):
        raise fail(f"{text!r} is no letter's id, such as normalizer/0/17: `unsilo dead list` shows those there are")
    for message in hub.at([place]):
        return marked(hub, [letter_of(hub, message)])[0]
    raise fail(f"there is no letter {text}: `unsilo dead list` shows those there are")


def _row(item: Return) -> dict[str, Any]:
    letter = item.letter
    return {
        "id": letter.id,
        "connection": letter.connection,
        "reason": letter.reason,
        "back_to": item.topic if item.obstacle is None else None,
        "obstacle": item.obstacle,
    }


def _json(letter: Letter) -> dict[str, Any]:
    return {
        **letter.row,
        "error": letter.error,
        "flow": letter.flow,
        "stage": letter.stage,
        "died_at": letter.died_at.isoformat(),
        "redriven_at": None if letter.redriven_at is None else letter.redriven_at.isoformat(),
        "redrive_of": letter.redrive_of,
        "of": named(letter.origin),
        "bytes": letter.bytes,
    }


def _shown(at: str) -> str:
    """A time as a header has it; as it stands there where it is none."""
    try:
        return shown(datetime.fromisoformat(at))
    except ValueError:
        return at
