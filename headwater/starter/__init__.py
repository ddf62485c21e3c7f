"""What `headwater init` writes: a small pipeline with a contract and data, and how it is copied.

`pipeline.py`, `readings.odcs.yaml`, `readings.csv`, `sites.csv` and `headwater.toml` beside this file are the files.
"""

from __future__ import annotations

from pathlib import Path

from catalog.errors import HeadwaterError

FILES = ("pipeline.py", "readings.odcs.yaml", "readings.csv", "sites.csv", "headwater.toml")


class AlreadyThere(HeadwaterError):
    """Files that would have been overwritten; nothing was written."""

    exit_code = 2


def write(folder: Path) -> list[Path]:
    """Write the files into a folder, which is made if need be. AlreadyThere, and nothing written, if one exists."""
    places = [folder / name for name in FILES]
    taken = [place.name for place in places if place.exists()]
    if taken:
        raise AlreadyThere(
            f"There is already {', '.join(taken)}",
            where=str(folder),
            fix="Name an empty folder: headwater init FOLDER",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, place in zip(FILES, places, strict=True):
        place.write_bytes((Path(__file__).parent / name).read_bytes())
    return places
