"""docker-compose itself, to ask what it makes of a file: the one that is installed (Debian has one), or that version
from PyPI in an environment of its own, made once and kept in the user's cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

VERSION: Final = "1.29.2"
#: What it needs to read and check a file. Its own list asks for a PyYAML that no longer builds.
PACKAGES: Final = (
    f"docker-compose=={VERSION}",
    "PyYAML==6.0.3",
    "attrs",
    "certifi",
    "charset-normalizer",
    "distro",
    "docker==6.1.3",
    "dockerpty==0.4.1",
    "docopt==0.6.2",
    "idna",
    "jsonschema==3.2.0",
    "packaging",
    "pyrsistent",
    "python-dotenv==0.21.1",
    "requests",
    "setuptools<81",
    "six",
    "texttable",
    "urllib3",
    "websocket-client==0.59.0",
)


class NoCompose(Exception):
    """Why there is no docker-compose to ask."""


def program() -> str:
    """The command. NoCompose."""
    installed = shutil.which("docker-compose")
    if installed is not None:
        return installed
    folder = Path.home() / ".cache" / "headwater" / f"docker-compose-{VERSION}"
    if not (folder / "complete").exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", *PACKAGES],
        ):
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            if ran.returncode:
                raise NoCompose(f"docker-compose could not be got: {(ran.stdout + ran.stderr).strip()[-500:]}")
        (folder / "complete").touch()
    return str(folder / "bin" / "docker-compose")
