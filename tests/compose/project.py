"""A docker-compose file brought up without Docker: each container is a process of this machine (Linux).

Every container has an address of its own in 127.0.0.0/8 and listens at the ports that it would listen at. In what the
file says of it, the names of services that listen, `localhost` and `0.0.0.0` stand for such addresses, and the places
of volumes for folders. So what is published for the machine's own programs is found at a container's address, at the
port that it has inside. What this does not show: that images can be built and fetched, that names are found by Docker's
own DNS, and that containers see nothing of the machine.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.compose.compose_file import Refused, Service, read
from tests.compose.container import Container


class Project:
    """The services of a file. Volumes lie in a folder of the project's own, and are removed when it is closed."""

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self.services = read(path, environment or {})
        # PostgreSQL does not run as root, and nobody else may look into most folders of root's.
        self.folder = Path(tempfile.mkdtemp(prefix="headwater-compose-"))
        self.folder.chmod(0o755)
        self.containers: dict[str, list[Container]] = {}
        self._network = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
        self._addresses: dict[tuple[str, int], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    def up(self, *services: str, scale: Mapping[str, int] | None = None, timeout: float = 600) -> None:
        """Start these services, or all, and those that they need, in the order that the file asks for; with as many
        containers of a service as `scale` says. Refused if one does not come up in time."""
        until = time.monotonic() + timeout
        waiting = {name: self.services[name] for name in self._needed(services or self.services)}
        while waiting:
            for name in [name for name in waiting if self._may_start(waiting[name])]:
                self._scale(waiting.pop(name), (scale or {}).get(name, 1))
            if waiting and time.monotonic() > until:
                raise Refused(f"{', '.join(waiting)} could not be started: {self.states()}")
            time.sleep(0.1)

    def down(self) -> dict[str, int | None]:
        """Stop all, those that others depend on last; the code with which each ended."""
        codes: dict[str, int | None] = {}
        for name in reversed(self._needed(self.services)):
            for container in self.containers.pop(name, []):
                container.stop()
                codes[container.name] = container.exit_code
        return codes

    def one(self, service: str, number: int = 1) -> Container:
        return self.containers[service][number - 1]

    def all(self) -> list[Container]:
        return [one for containers in self.containers.values() for one in containers]

    def execute(self, service: str, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.one(service).run(list(words), timeout)

    def states(self) -> dict[str, str]:
        return {one.name: one.state if one.health == "none" else one.health for one in self.all()}

    def wait_for(self, met: Callable[[], bool], what: str, timeout: float = 600) -> None:
        until = time.monotonic() + timeout
        while not met():
            if time.monotonic() > until:
                raise TimeoutError(f"{what}: {self.states()}; see {self.folder}")
            time.sleep(0.3)

    def _needed(self, services: Iterable[str]) -> list[str]:
        found: list[str] = []
        for name in services:
            found += [one for one in (*self._needed(self.services[name].depends_on), name) if one not in found]
        return found

    def _may_start(self, service: Service) -> bool:
        for other, condition in service.depends_on.items():
            found = self.containers.get(other, [])
            if not found:
                return False
            if condition == "service_healthy" and any(one.health != "healthy" for one in found):
                return False
            if condition == "service_completed_successfully" and any(
                one.state != "exited" or one.exit_code != 0 for one in found
            ):
                return False
        return True

    def _scale(self, service: Service, count: int) -> None:
        running = self.containers.setdefault(service.name, [])
        while len(running) > count:
            running.pop().stop()
        for number in range(len(running) + 1, count + 1):
            name = f"{service.name}-{number}"
            address = self._address(service.name, number)
            made = Container(service, name, address, self._translator(service, address), self.folder)
            made.start()
            running.append(made)

    def _address(self, service: str, number: int = 1) -> str:
        return self._addresses.setdefault((service, number), f"{self._network}.{len(self._addresses) + 1}")

    def _translator(self, service: Service, own: str) -> Callable[[str], str]:
        hosts = {name: self._address(name) for name, other in self.services.items() if other.ports}
        hosts |= {"localhost": own, "0.0.0.0": own}
        if service.ports:
            # What a container calls itself it is, whichever of several it is.
            hosts[service.name] = own
        places = {
            place: str(source if isinstance(source, Path) else self._volume(source))
            for place, source in service.volumes.items()
        }
        stood_for = {**hosts, **places}
        named = "|".join(map(re.escape, hosts))
        mounted = "".join(f"{re.escape(place)}|" for place in places)
        words = re.compile(rf"{mounted}(?<![\w.-])(?:{named})(?=:\d|/|,|\s|$)")

        def translated(text: str) -> str:
            return words.sub(lambda found: stood_for[found[0]], text)

        return translated

    def _volume(self, name: str) -> Path:
        folder = self.folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
