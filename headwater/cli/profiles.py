"""The profile of a stream among what `headwater streams NAME` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.cli.session import Session

if TYPE_CHECKING:
    from headwater.profiles import StreamProfile

#: What a pipe is given of each column; --json has all figures.
FIGURES = (
    "column", "type", "rows", "nulls", "distinct", "min", "p25", "p50", "p75", "max", "mean", "std",
    "earliest", "latest", "top",
)  # fmt: skip


def as_json(profile: StreamProfile | None) -> dict[str, Any] | None:
    """The profile as one JSON value; None for none."""
    if profile is None:
        return None
    return {
        "stream": profile.made_by,
        "start": profile.start,
        "end": profile.end,
        "windows": profile.windows,
        "rows": profile.rows,
        "columns": profile.figures(),
    }


def print_profile(session: Session, profile: StreamProfile) -> None:
    """A table with a line for each column, on a terminal with a histogram in it."""
    from headwater.profiles import SHOWN

    out = session.out
    out.heading("Profile")
    out.line(f"{profile.covers()}, from {profile.made_by}", "dim")
    if out.plain:
        figures = profile.figures()
        out.table(FIGURES, [[_told(one.get(name)) for name in FIGURES] for one in figures])
    else:
        out.table(SHOWN, profile.shown())


def _told(figure: Any) -> Any:
    if isinstance(figure, list):
        return [f"{one['value']} {one['count']:g}" for one in figure]
    return figure
