"""Some operators of a pipeline, run by themselves: which ones a user names, and what their workers are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Final

from operators.execution.plan import PlanError

_PART: Final = re.compile(r"\.[0-9a-f]{6}$")


def select(pipeline: str, nodes: Collection[str], only: Sequence[str] | None) -> frozenset[str] | None:
    """The nodes whose names, with or without the pipeline's before them, fit one of the patterns (`*` stands for
    anything); None for all. PlanError for a pattern that fits none."""
    if only is None:
        return None
    found: set[str] = set()
    for pattern in only:
        fitting = {name for name in nodes if _fits(pipeline, name, pattern)}
        if not fitting:
            raise PlanError(
                f"No operator or source fits {pattern!r}",
                where=pipeline,
                fix=f"There are {', '.join(sorted(name.removeprefix(f'{pipeline}.') for name in nodes))}.",
            )
        found |= fitting
    if not found:
        raise PlanError("No operator is chosen", where=pipeline, fix="Name one, or leave `only` out for all of them.")
    return frozenset(found)


def workers_name(pipeline: str, only: frozenset[str] | None) -> str:
    """What workers of the same operators are called together: the pipeline, or the pipeline and which part of it."""
    if only is None:
        return pipeline
    return f"{pipeline}.{sha256(' '.join(sorted(only)).encode()).hexdigest()[:6]}"


def pipeline_of(workers: str) -> str:
    """The pipeline of workers who are called so together."""
    return _PART.sub("", workers)


def _fits(pipeline: str, name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix(f"{pipeline}."), pattern)
