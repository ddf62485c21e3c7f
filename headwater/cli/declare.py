"""Commands that declare: a project to start from, and what a file declares into the catalog."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headwater.cli.command import FILE_HELP, command
from headwater.cli.from_topic import register_from_topic
from headwater.cli.session import DIFFERENT, Session

if TYPE_CHECKING:
    from catalog.difference import Difference

PANEL = "Declare"


def add_to(app: typer.Typer) -> None:
    command(app, "init", panel=PANEL, examples=["headwater init", "headwater init plant"])(init)
    command(
        app,
        "register",
        panel=PANEL,
        examples=[
            "headwater register pipeline.py",
            "headwater register pipeline.py --check",
            "headwater register readings.odcs.yaml",
            "headwater register --from-topic web.clicks",
        ],
    )(register)


def init(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="Where to write; made if need be.", metavar="FOLDER")] = Path(),
) -> None:
    """Write a small working pipeline to start from: a pipeline file, a contract and data."""
    from headwater import starter

    written = starter.write(folder)
    go = [] if folder == Path() else [f"cd {folder}"]
    steps = [
        *go,
        "headwater register pipeline.py",
        "headwater publish plant.readings readings.csv",
        "headwater run pipeline.py --until caught-up",
        "headwater streams",
        "headwater lineage plant.fahrenheit",
    ]
    if session.json:
        session.emit({"written": written, "next": steps})
        return
    session.out.line(f"Wrote {', '.join(str(place) for place in written)}.")
    session.out.heading("Next steps")
    for step in steps:
        session.out.line(f"  {step}")


def register(
    session: Session,
    file: Annotated[
        str | None,
        typer.Argument(help=f"{FILE_HELP} Or a contract (.yaml) that declares one stream.", metavar="FILE"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help=f"Change nothing; exit code {DIFFERENT} if there is a difference.")
    ] = False,
    from_topic: Annotated[
        str | None,
        typer.Option(
            "--from-topic",
            help="Look at a topic that others write, of JSON or of Avro with a registry, write its contract to a file, "
            "and ask whether to register it. The topic is never changed.",
            metavar="NAME",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --from-topic: the contract file (default: NAME.odcs.yaml).")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", help="With --from-topic: how many of the newest messages to look at.", min=1)
    ] = 1000,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            help="With --from-topic: the schema registry that Avro messages name their schemas of.",
            metavar="URL",
            envvar="HEADWATER_REGISTRY",
            show_envvar=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --from-topic: register without asking.")] = False,
) -> None:
    """Put what a file declares into the catalog, and say what that changes.

    A change that readers could not follow is refused, with exit code 5, and nothing is changed.
    """
    if from_topic is not None:
        if file is not None or check:
            raise typer.BadParameter("--from-topic takes neither a FILE nor --check: it writes a file.")
        register_from_topic(session, from_topic, out, sample, yes, registry)
        return
    if file is None:
        raise typer.BadParameter("Name a FILE, or a topic of others with --from-topic NAME.")
    name, differences, own_streams = _registered(session, file, check)
    own = [one for one in differences if one.name in own_streams]
    shown = [one for one in differences if one.name not in own_streams]
    if session.json:
        session.emit({"name": name, "changed": not check and bool(differences), "differences": _plain(differences)})
    elif not differences:
        session.out.line(f"{name}: the catalog holds just this; nothing to change.")
    else:
        session.out.table(
            ["change", "what", "name", "detail"],
            [(one.action, one.what, one.name, one.detail) for one in shown],
            wrap="detail",
        )
        more = f" ({len(own)} more for the platform's own streams)" if own else ""
        verb = "would change" if check else "changed"
        session.out.line()
        session.out.line(f"{name}: {len(shown)} {'thing' if len(shown) == 1 else 'things'} {verb}{more}.")
    if check and differences:
        raise typer.Exit(DIFFERENT)


def _registered(session: Session, file: str, check: bool) -> tuple[str, list[Difference], set[str]]:
    """What was declared, the differences, and the streams that the platform keeps for its operators."""
    from catalog.register import Registration
    from headwater import platform
    from headwater.cli.load import is_contract, load_pipeline

    if is_contract(file):
        from streams.odcs import read_contract

        stream = read_contract(Path(file))
        document = Path(file).read_text(encoding="utf-8")
        hub = session.hub(make=not check)
        return stream.name, hub.register_stream(stream, document=document, dry_run=check), set()
    pipeline = load_pipeline(file)
    hub = session.hub(make=not check)
    found = hub.register(pipeline, dry_run=check)
    differences = list(found.differences) if isinstance(found, Registration) else found
    return pipeline.name, differences, {stream.name for stream in platform.own_streams(pipeline)}


def _plain(differences: list[Difference]) -> list[dict[str, Any]]:
    return [asdict(one) for one in differences]
