"""The command that compares the log with the catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from headwater.cli.command import command
from headwater.cli.session import DIFFERENT, Session

PANEL = "Find"


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "observe",
        panel=PANEL,
        examples=["headwater observe", "headwater observe --json"],
    )(observe)


def observe(
    session: Session,
    check: Annotated[bool, typer.Option("--check", help=f"Exit code {DIFFERENT} if anything stands out.")] = False,
) -> None:
    """Compare the log with the catalog: topics, consumer groups and messages that nobody declared; lag by operator."""
    hub = session.hub()
    with session.working("Looking at the newest messages …"):
        found = hub.observe()
    if session.json:
        session.emit({**asdict(found), "clean": found.clean})
    else:
        out = session.out
        tables: list[tuple[str, list[str], list[tuple[Any, ...]]]] = [
            (
                "Topics without a stream",
                ["topic", "partitions", "offsets"],
                [(one.topic, one.partitions, one.messages) for one in found.unregistered],
            ),
            ("Streams without a topic", ["stream"], [(one,) for one in found.missing]),
            (
                "Topics that are otherwise than their stream says",
                ["stream", "topic", "registered"],
                [(one.stream, str(one.topic), str(one.wanted)) for one in found.differing],
            ),
            (
                "Consumer groups that nobody declared",
                ["group", "state", "clients", "reads", "lag"],
                [
                    (one.group, one.state, ", ".join(one.clients), ", ".join(one.topics), one.lag)
                    for one in found.readers
                ],
            ),
            (
                "Messages that nobody is named for",
                ["stream", "client", "messages", "of the newest"],
                [(one.stream, one.client, one.messages, one.of) for one in found.unattributed],
            ),
            (
                "Messages that do not follow a registered schema",
                ["stream", "messages", "of the newest", "first", "why"],
                [(one.stream, one.messages, one.of, one.first, one.why) for one in found.mismatches],
            ),
        ]
        for heading, columns, rows in tables:
            if rows:
                out.heading(heading)
                out.table(columns, rows)
                out.line()
        if found.clean:
            out.line("Everything in the log is declared.")
        out.heading("Operators")
        out.table(
            ["operator", "lag", "running", "tasks"],
            [(one.operator, one.lag, one.running, one.tasks) for one in found.lags],
        )
    if check and not found.clean:
        raise typer.Exit(DIFFERENT)
