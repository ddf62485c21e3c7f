"""The files for Docker: what docker-compose itself says of them, and what tests/compose refuses to pass over."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.compose import docker_compose, dockerfile
from tests.compose.compose_file import Refused, read
from tests.kafka_broker import VERSION

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> str:
    try:
        return docker_compose.program()
    except docker_compose.NoCompose as reason:
        pytest.skip(f"{reason}. Debian: apt-get install docker-compose.")


def test_docker_compose_takes_the_file_and_reads_it_as_we_do(compose: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    ran = subprocess.run(
        [compose, "config"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    theirs = yaml.safe_load(ran.stdout)["services"]
    ours = read(FILE, {})
    assert theirs.keys() == ours.keys()
    for name, service in ours.items():
        assert theirs[name].get("environment", {}) == service.environment
        assert theirs[name].get("command") == service.command
        assert theirs[name].get("entrypoint") == service.entrypoint
        assert theirs[name].get("image") == service.image
        assert set(theirs[name].get("depends_on", {})) == set(service.depends_on)


def test_every_knob_stands_in_dotenv_with_the_default_of_the_file() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text()))
    lines = (ROOT / ".env").read_text().splitlines()
    stated = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert stated == used
    assert len(re.findall(r"\$\{\w+\}", FILE.read_text())) == 0


def test_commands_of_the_page_name_what_there_is() -> None:
    services = {*read(FILE, {}), "tower"}
    page = (ROOT / "docs" / "how-to" / "run-with-compose.md").read_text()
    shown = re.findall(r"docker-compose (build|up|down|exec|logs|ps|config)([^\n`]*)", page)
    assert {verb for verb, _ in shown} == {"build", "up", "down", "exec", "logs", "ps", "config"}
    for verb, words in shown:
        if verb == "exec":
            assert words.split()[0] in services
            assert words.split()[1] == "headwater"
        else:
            named = [re.sub(r"=\d+$", "", word) for word in words.split() if not word.startswith("-")]
            assert set(named) <= services, (verb, words)


def test_what_is_run_for_kafka_is_the_version_of_the_image() -> None:
    assert read(FILE, {})["kafka"].image == f"apache/kafka:{VERSION}"


def test_all_of_it_fits_into_four_gigabytes() -> None:
    services = read(FILE, {}).values()
    assert all(one.memory for one in services)
    # `catalog` is over before the workers begin.
    assert sum(one.memory or 0 for one in services if one.name != "catalog") <= 4 << 30


def test_our_services_run_as_nobody_special() -> None:
    stage = dockerfile.read(ROOT / "Dockerfile", {})[-1]
    assert stage.last("USER") == "headwater"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    privileged: true", "service one: privileged is not implemented"),
        ("    environment: [A=1]", "one: environment as a list"),
        ("    depends_on: [two]", "one depends on two, which is no service"),
        ("    restart: sometimes", "one: restart sometimes"),
        ("    healthcheck: {test: [NONE]}", "one: a health check that begins with NONE"),
        ("    volumes: ['./here:/there']", "one: the volume ./here:/there"),
        ("    command: ${WORDS}", "the variable WORDS has no value"),
        ("    command: ${WORDS?what}", "a variable of another form"),
        ("networks: {}", "networks is not implemented"),
    ],
)
def test_what_is_not_implemented_is_refused(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(f"services:\n  one:\n    image: postgres:18\n{line}\n")
    with pytest.raises(Refused, match=re.escape(said)):
        read(file, {})
    file.write_text("services:\n  one:\n    image: postgres:18\n")
    assert list(read(file, {})) == ["one"]


def test_an_unknown_step_of_a_dockerfile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.11-slim\nONBUILD RUN true\n")
    with pytest.raises(Refused, match="ONBUILD is not implemented"):
        dockerfile.read(tmp_path / "Dockerfile")
