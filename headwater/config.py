"""Where the log and the catalog are: from arguments, the environment, or a headwater.toml, in this order."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import HeadwaterError

WORKSPACE = ".headwater"


class ConfigError(HeadwaterError):
    """A setting that cannot be used."""

    exit_code = 2


@dataclass(frozen=True)
class Config:
    """URLs of the log and the catalog, and who this service says it is.

    Environment: HEADWATER_WORKSPACE, HEADWATER_LOG, HEADWATER_CATALOG, HEADWATER_SERVICE. In `headwater.toml`:
    workspace, log, catalog, service (looked for in the current folder and those above it).
    """

    workspace: Path
    log: str
    catalog: str
    service: str

    @classmethod
    def find(
        cls,
        *,
        workspace: str | Path | None = None,
        log: str | None = None,
        catalog: str | None = None,
        service: str | None = None,
        unnamed: str = "python",
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Config:
        """Settings given here win over the environment, that over the file, that over the default: an embedded log
        and a SQLite catalog in the folder `.headwater`. A service that nobody named is called `unnamed`. ConfigError if
        the file cannot be read."""
        env = os.environ if environment is None else environment
        stated = _file(folder or Path.cwd())

        def setting(name: str, given: str | Path | None) -> str | None:
            if given is not None:
                return str(given)
            return env.get(f"HEADWATER_{name.upper()}") or stated.get(name)

        place = Path(setting("workspace", workspace) or WORKSPACE).expanduser()
        return cls(
            place,
            setting("log", log) or f"embedded://{(place / 'log.db').absolute().as_posix()}",
            setting("catalog", catalog) or f"sqlite:///{(place / 'catalog.db').absolute()}",
            setting("service", service) or unnamed,
        )


def _file(folder: Path) -> dict[str, str]:
    for place in (folder, *folder.absolute().parents):
        path = place / "headwater.toml"
        if not path.is_file():
            continue
        try:
            found = tomllib.loads(path.read_text())
        except (tomllib.TOMLDecodeError, OSError) as error:
            raise ConfigError(f"The file cannot be read: {error}", where=str(path), fix="Mend or remove it.") from error
        unknown = sorted(set(found) - {"workspace", "log", "catalog", "service"})
        if unknown:
            raise ConfigError(
                f"Unknown settings: {', '.join(unknown)}",
                where=str(path),
                fix="The settings are workspace, log, catalog and service.",
            )
        if "workspace" in found and not Path(found["workspace"]).is_absolute():
            found["workspace"] = str(place / found["workspace"])
        return {name: str(value) for name, value in found.items()}
    return {}
