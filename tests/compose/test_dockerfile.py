"""The Dockerfile's steps in a clean folder: what they leave there is enough to run the job, and nothing of the sources'
folder is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.compose.build import Build

ROOT = Path(__file__).resolve().parents[2]


def called(image: Build, *words: str, **environment: str) -> str:
    ran = subprocess.run(
        [image.translated(word) for word in (*image.last.listed("ENTRYPOINT"), *words)],
        cwd=image.inside(image.last.last("WORKDIR") or "/"), env={**image.environment(), **environment},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def without_words_it_says_what_it_can_do(image: Build) -> None:
    assert "Usage: headwater" in called(image, *image.last.listed("CMD"))


def all_but_the_user_and_the_folder_of_theirs_was_done(image: Build) -> None:
    assert [command.split()[0] for command in image.left] == ["useradd", "install"]
    assert not image.inside("/src").exists()
    assert not list(image.inside("/opt/headwater").rglob("tests"))


def the_flights_job_runs_with_what_is_in_the_image(image: Build) -> None:
    said = called(image, "run", "examples/flights/services.py", "--until", "caught-up", FLIGHTS_ROWS="300")
    assert "flights: run " in said
    assert image.inside("/var/lib/headwater/log.db").exists()


def the_engines_and_databases_of_the_services_are_in_it(image: Build) -> None:
    python = image.inside("/opt/headwater/bin/python")
    modules = "faust, kafka, confluent_kafka, psycopg, prometheus_client, sklearn"
    subprocess.run([python, "-c", f"import {modules}"], check=True, cwd="/", env=image.environment())


def test_what_the_steps_leave_is_enough(tmp_path: Path) -> None:
    image = Build(ROOT, tmp_path)
    image.run()
    without_words_it_says_what_it_can_do(image)
    all_but_the_user_and_the_folder_of_theirs_was_done(image)
    the_flights_job_runs_with_what_is_in_the_image(image)
    the_engines_and_databases_of_the_services_are_in_it(image)
