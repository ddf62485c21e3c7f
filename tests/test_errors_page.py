"""docs/reference/errors.md lists every error class, with its exit code and nothing that is not there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.errors import HeadwaterError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "errors.md"
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<code>\d+) \| (?P<when>[^|]+) \| (?P<fix>[^|]+) \|$", re.MULTILINE)
PACKAGES = ("catalog", "streams", "operators", "headwater")


def classes(kind: type[HeadwaterError] = HeadwaterError) -> Iterator[type[HeadwaterError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from classes(one)


@pytest.fixture(scope="module")
def known() -> dict[str, int]:
    """The exit codes of all error classes of our packages, by name."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    return {one.__name__: one.exit_code for one in classes() if one.__module__.split(".")[0] in PACKAGES}


def test_every_error_is_listed_with_its_exit_code(known: dict[str, int]) -> None:
    listed = {row["name"]: int(row["code"]) for row in ROW.finditer(PAGE.read_text())}
    assert listed == known


def test_no_error_is_listed_twice() -> None:
    names = [row["name"] for row in ROW.finditer(PAGE.read_text())]
    assert sorted(set(names)) == sorted(names)


def test_every_error_says_what_it_is(known: dict[str, int]) -> None:
    assert all(one.__doc__ for one in classes() if one.__name__ in known)
