"""One container of a service, as a process of this machine with an address of its own in 127.0.0.0/8."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from tests.compose.compose_file import Service
from tests.compose.images import Program, program, run_once

State = Literal["created", "running", "exited"]
HealthState = Literal["none", "starting", "healthy", "unhealthy"]
#: A container that ends is started anew after so many seconds, twice as many each time, as Docker does.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
LOOK_SECONDS: Final = 0.2


class Container:
    """Keeps a service's program running as its restart policy says, asks for its health, and holds it to its memory."""

    def __init__(
        self, service: Service, name: str, address: str, translated: Callable[[str], str], folder: Path
    ) -> None:
        self.service = service
        self.name = name
        self.address = address
        self.log = folder / f"{name}.log"
        self.state: State = "created"
        self.health: HealthState = "none" if service.health is None else "starting"
        self.exit_code: int | None = None
        self.restarts = 0
        #: The most that it has taken, in bytes, and how often it was killed for taking more than it may.
        self.memory = 0
        self.killed_for_memory = 0
        self._translated = translated
        self._folder = folder / name
        self._program: Program | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Refused if nothing stands in for its image."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = program(self.service, self.address, self._translated, self._folder)
        run_once(self._program, self.log)
        self._over.clear()
        self._launch()
        jobs = [self._keep] if self.service.health is None else [self._keep, self._ask]
        self._threads = [threading.Thread(target=job, name=f"{self.name} {job.__name__}", daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask it to end, and kill it if it has not within its grace."""
        self._over.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(self.service.grace)
            except subprocess.TimeoutExpired:
                self.kill()
        for thread in self._threads:
            thread.join()
        if self._process is not None:
            self.exit_code, self.state = self._process.wait(), "exited"

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def run(self, words: list[str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command in the container, as `docker-compose exec` runs it."""
        assert self._program is not None
        command = [self._translated(word) for word in words]
        return subprocess.run(
            command, cwd=self._program.folder, env=self._program.environment, capture_output=True, text=True,
            check=False, timeout=timeout, **self._program.account,
        )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def _launch(self) -> None:
        assert self._program is not None
        user, group = self._program.account.get("user", -1), self._program.account.get("group", -1)
        tied = [sys.executable, str(Path(__file__).with_name("tied.py")), str(user), str(group)]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                [*tied, *self._program.command], cwd=self._program.folder, env=self._program.environment, stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.state = "running"

    def _keep(self) -> None:
        pause = FIRST_PAUSE
        assert self._process is not None
        while True:
            try:
                code = self._process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                self._weigh()
                continue
            self.exit_code, self.state = code, "exited"
            if self._over.is_set():
                return
            again = {"no": False, "on-failure": code != 0}.get(self.service.restart, True)
            if not again or self._over.wait(pause):
                return
            pause = min(2 * pause, LONGEST_PAUSE)
            self.restarts += 1
            if self.service.health is not None:
                self.health = "starting"
            self._launch()

    def _weigh(self) -> None:
        """What a container's limit counts and cannot be given back: memory that is no file's."""
        assert self._process is not None
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return
        kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")), "0")
        self.memory = max(self.memory, int(kilobytes) << 10)
        if self.service.memory is not None and int(kilobytes) << 10 > self.service.memory:
            self.killed_for_memory += 1
            self.kill()

    def _ask(self) -> None:
        health = self.service.health
        assert health is not None
        failed, began = 0, time.monotonic()
        while not self._over.wait(health.interval if self.health != "starting" else min(health.interval, 1.0)):
            if self.state != "running":
                failed, began = 0, time.monotonic()
                continue
            try:
                well = self.run(health.test, health.timeout).returncode == 0
            except subprocess.TimeoutExpired:
                well = False
            if well:
                failed, self.health = 0, "healthy"
            elif time.monotonic() - began > health.start_period or self.health != "starting":
                failed += 1
                if failed >= health.retries:
                    self.health = "unhealthy"
