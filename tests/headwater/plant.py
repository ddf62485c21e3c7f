"""The starter pipeline in a folder, and a way to call commands in it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from headwater.cli import app


@dataclass(frozen=True)
class Called:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def table(self) -> list[dict[str, str]]:
        """The rows of a table in a pipe, by column name; what stands behind an empty line is left out."""
        names, *rows = self.out.split("\n\n")[0].splitlines()
        return [dict(zip(names.split("\t"), row.split("\t"), strict=True)) for row in rows]


@dataclass(frozen=True)
class Plant:
    """A folder with the starter pipeline."""

    folder: Path

    def __call__(self, *arguments: str, code: int = 0) -> Called:
        """Call a command in the folder; it must end with this code."""
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, list(arguments), prog_name="headwater")
        called = Called(result.exit_code, result.stdout, result.stderr)
        assert called.code == code, (
            f"{arguments} ended with {called.code}\n{called.out}{called.err}{result.exception!r}"
        )
        return called

    def change(self, old: str, new: str, file: str = "pipeline.py") -> None:
        """Edit a file; what is replaced has to be there."""
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))
