"""The command for weak labels: what each labelling function and each class is worth."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from catalog.errors import HeadwaterError
from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session

PANEL = "Find"


class BadTruth(HeadwaterError):
    """Options of `headwater labels` that do not say where the truth is."""

    exit_code = 2


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "labels",
        panel=PANEL,
        examples=[
            "headwater labels",
            "headwater labels weather.labels",
            "headwater labels weather.labels --truth rained --means true=wet --means false=dry",
        ],
    )(labels)


def labels(
    session: Session,
    stream: Annotated[
        str | None,
        typer.Argument(help="A stream of weak labels, in full.", metavar="STREAM", autocompletion=names.streams),
    ] = None,
    truth: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Compare with this field: of the labels, or of --truth-in.")
    ] = None,
    truth_in: Annotated[
        str | None, typer.Option(metavar="STREAM", help="The stream that has the truth.", autocompletion=names.streams)
    ] = None,
    on: Annotated[str | None, typer.Option(metavar="FIELD", help="The field in which both meet; else the key.")] = None,
    means: Annotated[
        list[str] | None, typer.Option(metavar="VALUE=CLASS", help="Which class a value of the truth means.")
    ] = None,
) -> None:
    """List the streams of weak labels, or show one: coverage, overlaps, conflicts and accuracy of each function; with
    the truth, recall, precision and calibration of each class too."""
    from headwater.labels import labelings

    hub = session.hub(follow=True)
    if stream is None:
        found = labelings(hub)
        if session.json:
            session.emit(found)
        elif not found:
            session.out.line("There are no weak labels. A pipeline makes them with p.label(…).")
        else:
            session.out.table(["labels"], [(one,) for one in found])
        return
    if truth is None and (truth_in is not None or on is not None or means):
        raise BadTruth("It is not said which field has the truth", where=stream, fix="Add --truth FIELD.")
    place = truth if truth is None or truth_in is None else (truth_in, truth)
    analysis = hub.labels(stream, truth=place, on=on, meaning=_meaning(means or []))
    if session.json:
        session.emit(asdict(analysis))
        return
    _print(session, "function", analysis.functions)
    session.out.line()
    _print(session, "class", analysis.classes)
    session.out.line()
    session.out.line(analysis.summary())


def _print(session: Session, what: str, records: tuple[Any, ...]) -> None:
    listed = [asdict(one) for one in records]
    named = [name for name in listed[0] if any(one[name] is not None for one in listed)]
    session.out.table(
        [what if name == "name" else name.replace("_", " ") for name in named],
        [[_cell(one[name]) for name in named] for one in listed],
    )


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return ", ".join(value) if isinstance(value, tuple) else value


def _meaning(given: list[str]) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for text in given:
        value, separator, label = text.partition("=")
        if not separator:
            raise BadTruth("This does not say what a value means", where=f"--means {text}", fix="Write VALUE=CLASS.")
        known: dict[str, Any] = {"true": True, "false": False}
        found[known.get(value, int(value) if value.lstrip("-").isdigit() else value)] = label
    return found
