"""Brings docker-compose.yml up without Docker: `python -m tests.compose up [--scale clean=2] [--set FLIGHTS_ROWS=5000]`
prints where everything is, and stays until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from tests.compose.compose_file import Refused
from tests.compose.project import Project

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    options.add_argument("do", choices=["up"])
    options.add_argument("--file", type=Path, default=ROOT / "docker-compose.yml")
    options.add_argument("--scale", action="append", default=[], metavar="SERVICE=NUMBER")
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="instead of what .env says")
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    environment = dict(one.split("=", 1) for one in given.set)
    scale = {name: int(number) for name, _, number in (one.partition("=") for one in given.scale)}
    try:
        with Project(given.file, environment) as project:
            project.up(scale=scale)
            for one in project.all():
                ports = ", ".join(f"{one.address}:{port}" for port in one.service.ports)
                print(f"{one.name:12} {project.states()[one.name]:10} {ports:25} {one.log}", flush=True)
            while True:
                time.sleep(1)
    except Refused as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
