"""Rebuilding the catalog: a new one is made from the log in a file beside, then takes the old one's place at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from catalog import Catalog, CatalogBusy, CatalogError
from catalog.address import shown
from headwater import platform
from streams.log import Log, Topic

if TYPE_CHECKING:
    from headwater.hub import Hub

#: How often changes may come in between before the rebuild gives up.
ATTEMPTS = 10


def rebuild(hub: Hub) -> int:
    """See `Hub.rebuild`."""
    hub.log.create([Topic(platform.CHANGES, 1)])
    path = hub.config.workspace / f"catalog.rebuild-{os.getpid()}.db"
    _remove_leftovers(hub.config.workspace)
    _remove(path)
    try:
        with Catalog(f"sqlite:///{path.absolute()}", clock=hub.clock) as fresh:
            count = platform.rebuild(fresh, hub.log)
            for _ in range(ATTEMPTS):
                _bring_changes(hub.catalog, hub.log)
                count += platform.rebuild(fresh, hub.log)
                if hub.catalog.adopt(fresh):
                    return count
    finally:
        _remove(path)
    raise CatalogBusy(
        "Others kept changing the catalog while it was rebuilt; it is as it was",
        where=shown(hub.config.catalog),
        fix="Try again when nobody registers anything.",
    )


def _bring_changes(catalog: Catalog, log: Log) -> None:
    """See that the log has every change of the catalog. An old copy brings none: the log knows better."""
    if catalog.last_change() >= platform.last_change(log):
        platform.pump(catalog, log)
    in_catalog, in_log = catalog.last_change(), platform.last_change(log)
    if in_catalog > in_log:
        raise CatalogError(
            f"The catalog has {in_catalog} changes and the log {in_log}: a rebuild would lose the others",
            where=platform.CHANGES,
            fix="Was the log replaced by an old copy? Then start with a new catalog, or bring the log back.",
        )


def _remove_leftovers(folder: Path) -> None:
    """Files of rebuilds whose process has died."""
    for path in folder.glob("catalog.rebuild-*.db*"):
        process = path.name.removeprefix("catalog.rebuild-").partition(".")[0]
        if process.isdigit() and not _runs(int(process)):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
