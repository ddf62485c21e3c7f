"""Commands for the catalog as a whole."""

from __future__ import annotations

import typer

from headwater.cli.command import command
from headwater.cli.session import Session


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Look after the catalog itself.")
    app.add_typer(group, name="catalog", rich_help_panel="Run")
    command(group, "rebuild", examples=["headwater catalog rebuild"])(rebuild)
    command(group, "upgrade", examples=["headwater catalog upgrade"])(upgrade)


def rebuild(session: Session) -> None:
    """Make the catalog anew from the log, and put it in the old one's place at once.

    Interrupted at any moment, the old one is still there.
    """
    count = session.hub().rebuild()
    if session.json:
        session.emit({"applied": count})
    else:
        session.out.line(f"Made the catalog anew from {count:,} changes and transactions.")


def upgrade(session: Session) -> None:
    """Make the catalog's tables, or bring those of an older version up to date; again, it changes nothing.

    Every program that opens the catalog does so too: this command does it before others start. The log is not needed.
    """
    from catalog import Catalog
    from catalog.address import shown

    session.config.workspace.mkdir(parents=True, exist_ok=True)
    with Catalog(session.config.catalog) as catalog:
        revision = catalog.revision
    if session.json:
        session.emit({"catalog": shown(session.config.catalog), "revision": revision})
    else:
        session.out.line(f"The catalog at {shown(session.config.catalog)} is at revision {revision}.")
