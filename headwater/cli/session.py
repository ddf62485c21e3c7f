"""One call of a command: its connection, its output, and how an error becomes three lines and an exit code."""

from __future__ import annotations

import base64
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from catalog.errors import HeadwaterError
from headwater.config import Config, ConfigError

if TYPE_CHECKING:
    from headwater.cli.output import Output
    from headwater.hub import Hub

#: A comparison that was asked for found a difference.
DIFFERENT = 10
#: An error that Headwater did not foresee.
UNEXPECTED = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class Session:
    """What a command is given: where to connect, whether to print JSON, and what to print with."""

    def __init__(self, workspace: Path | None, json: bool, debug: bool) -> None:
        self.workspace = workspace
        self.json = json
        self.debug = debug
        self._hub: Hub | None = None

    @cached_property
    def config(self) -> Config:
        return Config.find(workspace=self.workspace, unnamed="command-line")

    @cached_property
    def out(self) -> Output:
        from headwater.cli.output import Output

        return Output()

    def hub(self, *, make: bool = False, follow: bool = False) -> Hub:
        """The connection, opened at the first call. Without `make` the workspace has to be there. `follow` first
        brings the catalog up to date with what tasks have done."""
        from headwater.hub import Hub

        if self._hub is None:
            if not make:
                self._refuse_missing()
            self._hub = Hub(self.config)
        if follow:
            self._hub.sync()
        return self._hub

    def close(self) -> None:
        if self._hub is not None:
            self._hub.close()

    def emit(self, value: Any, *, line: bool = False) -> None:
        """A value as JSON on standard output, indented, or with `line` on one line. Times are ISO 8601 text in UTC."""
        import orjson

        options = orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
        if not line:
            options |= orjson.OPT_INDENT_2
        sys.stdout.write(orjson.dumps(value, default=_plain, option=options).decode())
        if line:
            sys.stdout.flush()

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Says on a terminal that something goes on; what is yielded changes the words."""
        if self.json:
            yield lambda words: None
            return
        with self.out.working(what) as say:
            yield say

    def _refuse_missing(self) -> None:
        scheme, _, place = self.config.log.partition("://")
        if scheme == "embedded" and not Path(place).exists():
            raise ConfigError(
                "There is no workspace here yet",
                where=str(self.config.workspace),
                fix="Name another with --workspace, or begin with `headwater init` or `headwater register FILE`.",
            )


@contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Turns every exception into three lines on standard error and the exit code that belongs to it."""
    try:
        yield
    except HeadwaterError as error:
        if debug:
            traceback.print_exc()
        complain(error.what, error.where, error.fix)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # What is still in the buffer has nowhere to go; without this Python complains about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None
    except Exception as error:
        if _is_exit(error):
            raise
        if debug:
            traceback.print_exc()
        frame = traceback.extract_tb(error.__traceback__)[-1]
        complain(
            f"Headwater did not foresee this: {type(error).__name__}: {error}",
            f"{Path(frame.filename).name} line {frame.lineno}",
            "Run it again with --debug and report what it shows.",
        )
        raise typer.Exit(UNEXPECTED) from error


def complain(what: str, where: str | None, fix: str | None) -> None:
    """What was wrong, where, and what to do: a line each on standard error."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False)
    for name, style, text in (("error", "bold red", what), ("where", "dim", where), ("fix", "green", fix)):
        if text:
            line = Text.assemble((f"{name}: ".ljust(7), style), " ".join(text.split()))
            console.print(line, soft_wrap=True)


def _is_exit(error: Exception) -> bool:
    """True for what Typer itself understands: an exit, an abort, a usage error."""
    return isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
