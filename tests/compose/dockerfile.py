"""What a Dockerfile says of the image that it makes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.compose.compose_file import Refused

KNOWN: Final = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "ENTRYPOINT", "CMD"}


@dataclass
class Stage:
    """One FROM of a Dockerfile, and the steps behind it: each an instruction and its words."""

    base: str
    name: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str | None:
        return next((words for kind, words in reversed(self.steps) if kind == instruction), None)

    def listed(self, instruction: str) -> list[str]:
        """The words of an instruction that stands there as a JSON list."""
        found = self.last(instruction)
        return [] if found is None else json.loads(found)

    def copied(self) -> list[tuple[str, str]]:
        """What comes from the build's folder, and where it goes."""
        words = [line.split() for kind, line in self.steps if kind == "COPY" and not line.startswith("--")]
        return [
            (source, Path(line[-1], Path(source).name if line[-1].endswith("/") else "").as_posix())
            for line in words
            for source in line[:-1]
        ]

    def environment(self) -> dict[str, str]:
        words = (word for kind, line in self.steps if kind == "ENV" for word in shlex.split(line))
        return dict(word.split("=", 1) for word in words)


def read(path: Path, arguments: dict[str, str] | None = None) -> list[Stage]:
    """The stages, with the build's arguments put in where FROM names them. Refused for an instruction that is not
    implemented here."""
    given = dict(arguments or {})
    stages: list[Stage] = []
    for instruction, words in _instructions(path.read_text()):
        if instruction not in KNOWN:
            raise Refused(f"{path.name}: {instruction} is not implemented")
        if instruction == "ARG":
            name, _, default = words.partition("=")
            given.setdefault(name, default)
        elif instruction == "FROM":
            base = re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], words).split()
            stages.append(Stage(base[0], base[2] if len(base) == 3 else ""))
        else:
            stages[-1].steps.append((instruction, words))
    return stages


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")))
    for line in filter(None, map(str.strip, joined.splitlines())):
        instruction, _, words = line.partition(" ")
        yield instruction.upper(), words.strip()
