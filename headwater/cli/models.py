"""Commands for models: what versions there are, who reigns, and asking a trainer for another champion."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headwater.cli import names
from headwater.cli.command import command
from headwater.cli.session import Session

if TYPE_CHECKING:
    from headwater.models import Model, Version

PANEL = "Models"

_MODEL = typer.Argument(help="A model stream.", metavar="MODEL", autocompletion=names.streams)
_REASON = typer.Option(help="Why, in words; it is recorded.")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="See models and their versions, promote one, or go back.")
    app.add_typer(group, name="models", rich_help_panel=PANEL)
    command(group, "list", examples=["headwater models list"])(list_)
    command(group, "show", examples=["headwater models show learning.model"])(show)
    command(
        group,
        "promote",
        examples=[
            "headwater models promote learning.model --candidate careful",
            'headwater models promote learning.model --version 2 --reason "agreed on Monday"',
        ],
    )(promote)
    command(
        group,
        "rollback",
        examples=["headwater models rollback learning.model", "headwater models rollback learning.model --version 1"],
    )(rollback)
    command(
        group,
        "card",
        examples=["headwater models card learning.model", "headwater models card learning.model --output card.html"],
    )(card)


def list_(session: Session) -> None:
    """List models with their champion."""
    found = session.hub(follow=True).models.list()
    if session.json:
        session.emit([_as_json(one, history=False) for one in found])
        return
    if not found:
        session.out.line("There are no models: a pipeline makes one with p.train.")
        return
    rows = [
        (
            one.name,
            one.champion.estimator if one.champion else None,
            one.champion.version if one.champion else None,
            one.champion.at if one.champion else None,
            one.champion.trained_rows if one.champion else None,
            len(one.challengers),
            one.owner,
        )
        for one in found
    ]
    session.out.table(["model", "champion", "version", "since", "learnt rows", "challengers", "owner"], rows)


def show(
    session: Session,
    model: Annotated[str, _MODEL],
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="So many messages of the trainer.")] = 10,
) -> None:
    """Show champion, challengers, what the trainer said last, and how the predictions did."""
    from headwater.model_card import evaluations_of
    from headwater.models import version_rows

    hub = session.hub(follow=True)
    found = hub.models.show(model)
    evaluations = evaluations_of(hub, found.name)
    if session.json:
        session.emit({**_as_json(found, history=True), "evaluations": evaluations})
        return
    session.out.facts([("model", found.name), ("owner", found.owner), ("what it is", found.description)])
    columns, rows = version_rows(found)
    session.out.heading("Versions in use")
    session.out.table(columns, rows, wrap="why")
    session.out.heading("What the trainer said last")
    session.out.table(
        ["candidate", "event", "stands as", "version", "at", "learnt rows", "why"],
        [
            (one.estimator, one.event, found.standing(one), one.version, one.at, one.trained_rows, one.reason)
            for one in reversed(found.history[-last:])
        ],
        wrap="why",
    )
    for section in hub.models.card(model).sections if evaluations else ():
        if section.title.startswith("Quality"):
            session.out.heading(section.title)
            session.out.table(section.columns, [[_short(value) for value in row] for row in section.rows])


def promote(
    session: Session,
    model: Annotated[str, _MODEL],
    candidate: Annotated[str | None, typer.Option(help="The challenger's name.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Or a version of it.")] = None,
    reason: Annotated[str | None, _REASON] = None,
) -> None:
    """Ask the trainer to make a challenger the champion, in its next run, whatever the comparison says."""
    session.hub(follow=True).models.promote(model, candidate, version=version, by=_who(), reason=reason)
    _asked(session, model, "promote", candidate or f"version {version}")


def rollback(
    session: Session,
    model: Annotated[str, _MODEL],
    version: Annotated[int | None, typer.Option(min=1, help="One that was champion; otherwise the one before.")] = None,
    reason: Annotated[str | None, _REASON] = None,
) -> None:
    """Ask the trainer to go back to an earlier champion, in its next run."""
    session.hub(follow=True).models.rollback(model, version, by=_who(), reason=reason)
    _asked(session, model, "go back to", "the champion before" if version is None else f"version {version}")


def card(
    session: Session,
    model: Annotated[str, _MODEL],
    form: Annotated[
        Literal["markdown", "html", "json"] | None, typer.Option("--format", help="How to write it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file to write; its ending says the format.")
    ] = None,
) -> None:
    """Print the model card: what the champion is, learnt from, is measured at and used for."""
    found = session.hub(follow=True).models.card(model)
    endings = {".html": "html", ".json": "json"}
    wanted = form or ("json" if session.json else endings.get(output.suffix if output else "", "markdown"))
    text = {"html": found.to_html, "json": found.to_json, "markdown": found.to_markdown}[wanted]()
    if output is None:
        session.out.line(text.rstrip("\n"))
        return
    output.write_text(text, encoding="utf-8")
    if session.json:
        session.emit({"model": found.model, "file": str(output)})
    else:
        session.out.line(f"Wrote {output}.")


def _asked(session: Session, model: str, action: str, what: str) -> None:
    if session.json:
        session.emit({"model": model, "action": action, "what": what})
        return
    session.out.line(f"Asked the trainer of {model} to {action} {what}. It does so in its next run.")


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # An account without a name, as containers have them.
        return "command-line"


def _as_json(model: Model, *, history: bool) -> dict[str, Any]:
    told = {
        "model": model.name,
        "owner": model.owner,
        "description": model.description,
        "champion": _version(model.champion) if model.champion else None,
        "challengers": [_version(one) for one in model.challengers],
    }
    return {**told, "history": [_version(one) for one in model.history]} if history else told


def _version(one: Version) -> dict[str, Any]:
    names_ = ("estimator", "version", "event", "role", "at", "trained_rows", "sha256", "reason")
    return {**{name: getattr(one, name) for name in names_}, "address": str(one.address)}


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value
