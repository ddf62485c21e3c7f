"""What a docker-compose file says of its services, as far as tests/compose runs it; all else is refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

Condition = Literal["service_started", "service_healthy", "service_completed_successfully"]
CONDITIONS: Final = ("service_started", "service_healthy", "service_completed_successfully")
RESTARTS: Final = ("no", "always", "on-failure", "unless-stopped")
KEYS: Final = {
    "build", "command", "depends_on", "entrypoint", "environment", "expose", "healthcheck", "image", "mem_limit",
    "ports", "restart", "stop_grace_period", "volumes",
}  # fmt: skip
_VARIABLE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?P<default>:-[^}]*)?\})")
_UNITS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Refused(Exception):
    """The file says something that is not implemented here."""


@dataclass(frozen=True)
class Health:
    """How a service is asked whether it is well; times in seconds."""

    test: list[str]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0


@dataclass(frozen=True)
class Service:
    """One service. `ports` are those that its containers listen at, `volumes` the named one or the folder by where it
    is mounted, `memory` in bytes, `built` the folder and Dockerfile of an image that is made here."""

    name: str
    image: str
    built: tuple[Path, str] | None
    entrypoint: list[str] | None
    command: list[str] | None
    environment: dict[str, str]
    depends_on: dict[str, Condition]
    health: Health | None
    ports: tuple[int, ...]
    volumes: dict[str, str | Path] = field(default_factory=dict)
    restart: str = "no"
    grace: float = 10.0
    memory: int | None = None


def read(path: Path, environment: Mapping[str, str]) -> dict[str, Service]:
    """The services of a file by name, with the variables of `environment` and of the `.env` beside it. Refused."""
    values = {**_dotenv(path.with_name(".env")), **environment}
    document = _interpolated(yaml.safe_load(path.read_text()), values)
    _known(document, {"services", "volumes"}, str(path))
    volumes = document.get("volumes") or {}
    for name, options in volumes.items():
        _known(options or {}, set(), f"volume {name}")
    services = {name: _service(name, given, path.parent, set(volumes)) for name, given in document["services"].items()}
    built = {one.image: one.built for one in services.values() if one.built is not None}
    for service in services.values():
        for other in service.depends_on:
            if other not in services:
                raise Refused(f"{service.name} depends on {other}, which is no service")
            if service.depends_on[other] == "service_healthy" and services[other].health is None:
                raise Refused(f"{service.name} waits for {other} to be healthy, which has no health check")
    return {
        name: Service(**{**vars(one), "built": built.get(one.image)}) if one.built is None else one
        for name, one in services.items()
    }


def _service(name: str, given: dict[str, Any], folder: Path, volumes: set[str]) -> Service:
    _known(given, KEYS, f"service {name}")
    if "image" not in given:
        raise Refused(f"{name} has no image")
    restart = str(given.get("restart", "no"))
    if restart not in RESTARTS:
        raise Refused(f"{name}: restart {restart}")
    return Service(
        name,
        given["image"],
        _built(name, given["build"], folder) if "build" in given else None,
        _words(given.get("entrypoint")),
        _words(given.get("command")),
        _environment(name, given.get("environment", {})),
        _conditions(name, given.get("depends_on", {})),
        _health(name, given["healthcheck"]) if "healthcheck" in given else None,
        tuple(
            dict.fromkeys([*map(int, given.get("expose", [])), *(_port(name, one) for one in given.get("ports", []))])
        ),
        dict(_mount(name, one, volumes, folder) for one in given.get("volumes", [])),
        restart,
        _seconds(given.get("stop_grace_period", "10s")),
        _bytes(given["mem_limit"]) if "mem_limit" in given else None,
    )


def _built(name: str, given: Any, folder: Path) -> tuple[Path, str]:
    given = {"context": given} if isinstance(given, str) else given
    _known(given, {"context", "dockerfile", "args"}, f"build of {name}")
    return folder / given["context"], given.get("dockerfile", "Dockerfile")


def _environment(name: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise Refused(f"{name}: environment as a list")
    for key, value in given.items():
        if not isinstance(value, str):
            raise Refused(f"{name}: the value of {key} is no text, but {value!r}")
    return dict(given)


def _conditions(name: str, given: Any) -> dict[str, Condition]:
    if isinstance(given, list):
        return dict.fromkeys(given, "service_started")
    found: dict[str, Condition] = {}
    for other, how in given.items():
        _known(how, {"condition"}, f"depends_on {other} of {name}")
        if how["condition"] not in CONDITIONS:
            raise Refused(f"{name} waits for {other}: {how['condition']}")
        found[other] = how["condition"]
    return found


def _health(name: str, given: dict[str, Any]) -> Health:
    _known(given, {"test", "interval", "timeout", "retries", "start_period"}, f"healthcheck of {name}")
    kind, *words = given["test"] if isinstance(given["test"], list) else ("CMD-SHELL", given["test"])
    if kind not in ("CMD", "CMD-SHELL"):
        raise Refused(f"{name}: a health check that begins with {kind}")
    times = {key: _seconds(given[key]) for key in ("interval", "timeout", "start_period") if key in given}
    return Health(words if kind == "CMD" else ["sh", "-c", *words], retries=int(given.get("retries", 3)), **times)


def _port(name: str, given: Any) -> int:
    found = re.fullmatch(r"(?:\d+(?:-\d+)?:)?(\d+)", str(given))
    if found is None:
        raise Refused(f"{name}: the port {given}")
    return int(found[1])


def _mount(name: str, given: Any, volumes: set[str], folder: Path) -> tuple[str, str | Path]:
    """A named volume, or a folder beside the file that is there and only read."""
    source, place, *options = str(given).split(":")
    if source in volumes and not options and place.startswith("/"):
        return place, source
    if source.startswith((".", "/")) and options == ["ro"] and (folder / source).is_dir():
        return place, (folder / source).resolve()
    raise Refused(f"{name}: the volume {given}; named ones are mounted, and folders that are there, as `ro`")


def _words(given: Any) -> list[str] | None:
    return shlex.split(given) if isinstance(given, str) else given


def _seconds(given: str) -> float:
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", given)
    if found is None or not given:
        raise Refused(f"the time {given}")
    return 60.0 * int(found[1] or 0) + float(found[2] or 0)


def _bytes(given: str) -> int:
    found = re.fullmatch(r"(\d+)([bkmg])b?", str(given).lower())
    if found is None:
        raise Refused(f"the size {given}")
    return int(found[1]) * _UNITS[found[2]]


def _known(given: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(key for key in given if key not in known and not key.startswith("x-"))
    if unknown:
        raise Refused(f"{where}: {', '.join(unknown)} is not implemented")


def _interpolated(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_interpolated(one, values) for one in value]
    if not isinstance(value, str):
        return value

    def stood_for(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        text = values.get(found["name"])
        if found["default"] is None:
            if text is None:
                raise Refused(f"the variable {found['name']} has no value")
            return text
        return text or found["default"][2:]

    if "$" in _VARIABLE.sub("", value):
        raise Refused(f"a variable of another form in {value!r}")
    return _VARIABLE.sub(stood_for, value)


def _dotenv(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))
