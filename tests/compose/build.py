"""The steps of a Dockerfile done in a folder, as far as that goes without Docker: COPY and RUN, stage by stage.

The folder stands for the image's root: its absolute paths are put into it, in commands too. The base image is this
machine, with the Python that runs this; steps that ask for an image's own users (NEEDS_ROOT) are not done, but told.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.compose.compose_file import Refused
from tests.compose.dockerfile import Stage, read

NEEDS_ROOT: Final = ("useradd", "install")


class Build:
    """An image's root in a folder. `left` are the commands that were not run."""

    def __init__(self, context: Path, folder: Path) -> None:
        self.root = folder / "root"
        self.left: list[str] = []
        self._context = context
        self._folder = folder
        self._stages = read(context / "Dockerfile")
        tools = folder / "bin"
        tools.mkdir(parents=True)
        (tools / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
        self._path = f"{tools}:{os.defpath}"

    @property
    def last(self) -> Stage:
        return self._stages[-1]

    def run(self) -> None:
        """All stages, each in a new root. Refused for a step that fails."""
        kept: dict[str, Path] = {}
        for number, stage in enumerate(self._stages):
            work = Path("/")
            self.root.mkdir()
            for instruction, words in stage.steps:
                if instruction == "WORKDIR":
                    work = Path(words)
                    self.inside(work).mkdir(parents=True, exist_ok=True)
                elif instruction == "COPY":
                    self._copy(words.split(), work, kept)
                elif instruction == "RUN":
                    self._run(words, work)
            if number + 1 < len(self._stages):
                # What the next stage takes from this one it finds under the same path, as it would in an image.
                kept[stage.name] = self.root.rename(self._folder / f"stage-{number}")

    def inside(self, place: Path | str) -> Path:
        return self.root / str(place).lstrip("/")

    def translated(self, text: str) -> str:
        return re.sub(r"(?<![\w./-])/(?:opt|src|app|var/lib/headwater)(?=[/\s:\"]|$)", rf"{self.root}\g<0>", text)

    def environment(self) -> dict[str, str]:
        """That of a container of the image."""
        stated = {name: self.translated(value) for name, value in self.last.environment().items()}
        return {**stated, "PATH": stated["PATH"].replace("$PATH", self._path), "HOME": str(self._folder)}

    def _copy(self, words: list[str], work: Path, kept: dict[str, Path]) -> None:
        origin = self._context
        if words[0].startswith("--from="):
            origin = kept[words.pop(0).removeprefix("--from=")]
        *sources, target = words
        for source in sources:
            place = self.inside(work / target)
            if target.endswith("/"):
                place = place / Path(source).name
            place.parent.mkdir(parents=True, exist_ok=True)
            found = origin / source.lstrip("/")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__") if origin == self._context else None
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True, ignore=ignored)
            else:
                shutil.copy2(found, place)

    def _run(self, command: str, work: Path) -> None:
        if command.startswith(NEEDS_ROOT):
            self.left.append(command)
            return
        # How packages are found may be said in this machine's environment.
        environment = {**{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}}
        environment |= {"PATH": self._path, "HOME": os.environ.get("HOME", "/")}
        ran = subprocess.run(
            ["sh", "-ec", self.translated(command)], cwd=self.inside(work), env=environment, capture_output=True,
            text=True, check=False, timeout=600,
        )  # fmt: skip
        if ran.returncode:
            raise Refused(f"RUN {command}: {(ran.stdout + ran.stderr)[-1500:]}")
