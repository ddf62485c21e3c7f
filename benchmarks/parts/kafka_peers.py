"""The commands that run peers, and what they need: packages, an environment of Quix's own, jars and a Java class."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.kafka_broker import VERSION, CannotStart, jars

#: It needs older versions of confluent-kafka and pydantic than the others, so it gets an environment of its own.
QUIX = "quixstreams==3.28.1"

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headwater</groupId><artifactId>kafka-streams</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-streams</artifactId><version>{version}</version></dependency>
  </dependencies>
</project>
"""


class NotHad(Exception):
    """Why a peer cannot be measured here."""


def python_peer(package: str, module: str) -> list[str]:
    if importlib.util.find_spec(package) is None:
        raise NotHad(f"{package} is not installed (extra `bench`)")
    return [sys.executable, "-m", f"benchmarks.parts.{module}"]


@cache
def quix() -> list[str]:
    """Quix in a virtual environment that is made once, beside the broker's jars."""
    folder = _cache() / QUIX.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        arrow = importlib.metadata.version("pyarrow")
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", QUIX, f"pyarrow=={arrow}"],
        ):
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
            if ran.returncode:
                raise NotHad(f"{QUIX} could not be installed: {ran.stderr.strip()[-200:]}")
        (folder / "complete").touch()
    return [str(python), "-m", "benchmarks.parts.kafka_quix"]


@cache
def kafka_streams() -> list[str]:
    """Kafka Streams of the broker's version by Maven, and our class, compiled for it."""
    javac, java, maven = (shutil.which(name) for name in ("javac", "java", "mvn"))
    if not (javac and java and maven):
        raise NotHad("it needs java, javac and mvn")
    folder = _cache() / f"kafka-streams-{VERSION}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pom.xml").write_text(_POM.format(version=VERSION))
        command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'jars'}"]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=500)
        if ran.returncode:
            raise NotHad(f"Maven could not get kafka-streams {VERSION}: {(ran.stdout + ran.stderr).strip()[-200:]}")
        (folder / "complete").touch()
    try:
        # The broker's own Jackson and log4j serve here too.
        path = os.pathsep.join([str(folder / "classes"), f"{folder / 'jars'}/*", f"{jars()}/*"])
    except CannotStart as error:
        raise NotHad(str(error)) from error
    source = Path(__file__).parent / "KafkaStreamsLoop.java"
    ran = subprocess.run(
        [javac, "-cp", path, "-d", str(folder / "classes"), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if ran.returncode:
        raise NotHad(f"the class does not compile: {ran.stderr.strip()[-200:]}")
    return [java, "-Xmx400m", "-cp", path, "KafkaStreamsLoop"]


def _cache() -> Path:
    return jars().parent.parent
