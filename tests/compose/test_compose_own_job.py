"""A job of one's own as docs/how-to/run-with-compose.md shows it: its file, its service, and a program of this machine
that publishes to it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from tests.compose.project import Project
from tests.kafka_broker import CannotStart, jars

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "run-with-compose.md").read_text()


def shown(file: str) -> str:
    found = re.search(rf"<!-- file: {re.escape(file)} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_a_job_of_ones_own_runs_beside(tmp_path: Path) -> None:
    try:
        jars()
    except CannotStart as reason:
        pytest.skip(f"No Kafka to run docker-compose.yml with: {reason}.")
    for name in (
        "docker-compose.yml",
        ".env",
        "Dockerfile",
        "examples",
        "catalog",
        "streams",
        "operators",
        "headwater",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "migrations").symlink_to(ROOT / "migrations")
    service = re.search(r"```text\nservices:\n(  tower:.*?)```", PAGE, re.DOTALL)
    assert service is not None
    file = tmp_path / "docker-compose.yml"
    whole = file.read_text()
    file.unlink()
    file.write_text(whole.replace("\nservices:\n", f"\nservices:\n{service[1]}\n"))
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "tower.py").write_text(shown("jobs/tower.py"))
    with Project(file, {"JOBS": "./jobs"}) as project:
        project.up("tower")
        assert project.states().keys() == {"kafka-1", "postgres-1", "catalog-1", "tower-1"}
        project.wait_for(lambda: project.one("tower").health == "healthy", "the worker is not well")
        kafka, postgres = project.one("kafka").address, project.one("postgres").address
        addresses = {
            "HEADWATER_LOG": f"kafka://{kafka}:29092",
            "HEADWATER_CATALOG": f"postgresql://headwater:headwater@{postgres}:5432/headwater",
        }
        subprocess.run(
            [sys.executable, "-c", shown("gate.py")], check=True, timeout=120, cwd=tmp_path,
            env={**os.environ, **addresses, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        with hw.connect(
            tmp_path / "here", log=addresses["HEADWATER_LOG"], catalog=addresses["HEADWATER_CATALOG"]
        ) as hub:
            project.wait_for(lambda: len(hub.read("tower.gusts")) == 1, "the row does not come through")
            assert hub.read("tower.gusts").row(0)["gusty"] is True
        assert shutil.which("headwater", path=project.one("tower").run(["sh", "-c", "echo $PATH"]).stdout.strip())
