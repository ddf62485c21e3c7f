"""`headwater run --engine faust`, and what it says where it cannot run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from tests.faults import loop_job
from tests.kafka_broker import free_port

ROOT = Path(__file__).parents[2]
PIPELINE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.faults.loop_job import build

def failing(batch):
    raise ValueError("too hot")

p = build(300, **({{"function": failing}} if {{fails}} else {{}}))
"""


def command(folder: Path, log: str, *options: str, fails: bool = False) -> list[str]:
    (folder / "pipeline.py").write_text(PIPELINE.replace("{fails}", str(fails)))
    start = "import sys; from headwater.cli import main; main()"
    run = ["run", "pipeline.py", "--engine", "faust", *options, "--workspace", str(folder / "plant")]
    return [sys.executable, "-c", start, *run]


def environment(log: str) -> dict[str, str]:
    return {**os.environ, "HEADWATER_LOG": log, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def ran(folder: Path, log: str, *options: str, **given: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, log, *options, **given),
        cwd=folder,
        env=environment(log),
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def test_a_run_ends_when_everything_is_taken(kafka_url: str, tmp_path: Path) -> None:
    done = ran(tmp_path, kafka_url, "--web-port", "0", "--until", "caught-up", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["failed"] == {}
    taken = {one["operator"]: one["rows_in"] for one in report["operators"]}
    assert taken["plant.valid"] == 300
    assert "Traceback" not in done.stderr


def test_tasks_that_stop_are_told(kafka_url: str, tmp_path: Path) -> None:
    done = ran(tmp_path, kafka_url, "--web-port", "0", "--until", "caught-up", fails=True)
    assert done.returncode == 8
    assert "too hot" in done.stderr
    assert "Traceback" not in done.stderr.split("error:")[-1]


def test_a_request_to_terminate_ends_it_in_order(kafka_url: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, kafka_url, "--web-port", "0"), cwd=tmp_path, env=environment(kafka_url), text=True
    )
    with hw.connect(tmp_path / "plant", log=kafka_url) as hub:
        until = time.monotonic() + 120
        while not (hub.catalog.has_stream("plant.valid") and any(end for _, end in hub.log.bounds("plant.valid"))):
            assert time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
        # Nothing was left open: the next run goes on at once, and to the end.
        hub.run(loop_job.build(300), until="caught-up")


def test_a_port_that_is_taken_is_told(kafka_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ran(tmp_path, kafka_url, "--web-port", str(port), "--until", "caught-up")
    assert done.returncode != 0
    assert f"port {port} is taken" in done.stderr


def test_a_dead_broker_is_told(tmp_path: Path) -> None:
    done = ran(tmp_path, f"kafka://127.0.0.1:{free_port()}", "--web-port", "0")
    assert done.returncode == 6
    assert "No broker answers" in done.stderr


def test_it_needs_a_log_on_kafka(tmp_path: Path) -> None:
    done = ran(tmp_path, str(tmp_path / "log.db"))
    assert done.returncode == 2
    assert "Faust workers need a log on Kafka" in done.stderr


def test_several_workers_are_several_processes(kafka_url: str, tmp_path: Path) -> None:
    with hw.connect(tmp_path, log=kafka_url) as hub, pytest.raises(hw.NoFaust, match="one process, not 2"):
        hub.run(loop_job.build(300), engine="faust", workers=2)
