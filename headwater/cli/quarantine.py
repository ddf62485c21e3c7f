"""Commands for quarantine: what broke which rule, and sending mended rows back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.errors import HeadwaterError
from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.rows import as_json
from headwater.cli.session import Session

if TYPE_CHECKING:
    from headwater.hub import Hub
    from headwater.replay_quarantine import Fix

PANEL = "Datasets and quarantine"


class BadValue(HeadwaterError):
    """A value on the command line that a field cannot have."""

    exit_code = 2


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="See what broke a contract, and send mended rows back.")
    app.add_typer(group, name="quarantine", rich_help_panel=PANEL)
    command(group, "list", examples=["headwater quarantine list", "headwater quarantine list plant.valid"])(list_)
    command(
        group,
        "replay",
        examples=[
            "headwater quarantine replay plant.valid",
            "headwater quarantine replay plant.valid --where \"sensor = 's4'\" --set celsius=45.1",
            "headwater quarantine replay plant.valid --fix mend.py:in_celsius --limit 100",
        ],
    )(replay)


def list_(
    session: Session,
    stream: Annotated[
        str | None,
        typer.Argument(help="The output of one clean; otherwise all.", metavar="STREAM", autocompletion=names.streams),
    ] = None,
) -> None:
    """Show which rules were broken, by how many rows, how many of them wait to be replayed, and an example of each."""
    found = session.hub().quarantine(stream)
    if session.json:
        body = [{**asdict(one), "sample": [as_json(row, list(row)) for row in one.sample]} for one in found]
        session.emit(body)
        return
    if not len(found):
        session.out.line("Nothing is in quarantine.")
        return
    session.out.table(
        ["stream", "rule", "rows", "waiting", "for example"],
        [(one.stream, one.rule, one.rows, one.waiting, _example(one.sample, one.field)) for one in found],
        wrap="rule",
    )


def replay(
    session: Session,
    stream: Annotated[
        str, typer.Argument(help="The output of the clean.", metavar="STREAM", autocompletion=names.streams)
    ],
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule, as `list` names it.")] = None,
    where: Annotated[str | None, typer.Option(help="Only rows for which this holds: \"sensor = 's4'\".")] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Give a field this value; `null` for none.")
    ] = None,
    fix: Annotated[
        str | None, typer.Option(metavar="FILE:NAME", help="A function that is given a batch and returns it mended.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many rows.")] = None,
) -> None:
    """Send quarantined rows back to be judged anew, each once, as they are or mended.

    The next run takes them. To replay after a rule was changed, register or run the pipeline with the new rule first.
    """
    from headwater.cli.output import counted

    if values and fix:
        raise BadValue("--set and --fix both say how to mend rows", where=stream, fix="Give one of them.")
    hub = session.hub()
    mend = _function(fix) if fix else _values(hub, stream, values) if values else None
    report = hub.replay_quarantine(stream, rule=rule, where=where, fix=mend, limit=limit)
    if session.json:
        session.emit(asdict(report))
        return
    session.out.line(f"Sent {counted(report.sent, 'row')} to {report.stream}.")
    for reason, count in report.left.items():
        session.out.line(f"{counted(count, 'row')} stay: {reason}.")
    if report.sent:
        session.out.line("The next run judges them: headwater run FILE --until caught-up")


def _example(sample: list[Any], field: str | None) -> str | None:
    """Where the first row lies, and what it has in the field that broke the rule."""
    if not sample:
        return None
    row = sample[0]
    place = ":".join(map(str, row.address[1:]))
    return f"{place}  {field}={row[field]}" if field is not None and field in row else place


def _function(target: str) -> Fix:
    from headwater.cli.load import load_function

    return load_function(target)


def _values(hub: Hub, stream: str, given: list[str]) -> dict[str, Any]:
    import pyarrow as pa

    from headwater.quarantine import retried_by

    schema = retried_by(hub.catalog, stream)[1].schema
    found: dict[str, Any] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise BadValue("This does not give a field a value", where=f"--set {text}", fix="Write --set FIELD=VALUE.")
        kind = schema.select([name]).arrow.field(name).type
        try:
            found[name] = None if value == "null" else pa.scalar(value).cast(kind).as_py()
        except (pa.ArrowException, ValueError) as error:
            raise BadValue(f"{value!r} is not {kind}", where=f"--set {text}", fix=str(error)) from error
    return found
