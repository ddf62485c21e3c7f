"""The front door: every public name is there, and comes only when asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from headwater import public

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", public.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hw, name) is getattr(public, name)


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pipline'"):
        _ = hw.pipline  # type: ignore[attr-defined]


def test_public_names_are_listed() -> None:
    assert set(public.__all__) <= set(dir(hw))
    assert public.__all__ == sorted(public.__all__, key=lambda name: (not name.isupper(), name.islower(), name))


@pytest.mark.parametrize(
    "first", ["import headwater.hub", "import headwater.public", "from headwater import *", "import headwater.testing"]
)
def test_any_module_may_be_imported_first(first: str) -> None:
    program = f"{first}\nimport headwater as hw\nhw.Pipeline, hw.testing.check, hw.connect\n"
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60)


def test_importing_the_package_is_cheap() -> None:
    program = "import sys, headwater\nsys.exit(len({'pyarrow', 'sqlalchemy', 'numpy'} & set(sys.modules)))\n"
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60)


def test_no_public_name_needs_a_service_or_its_client() -> None:
    clients = "{'faust', 'mode', 'aiokafka', 'kafka', 'confluent_kafka', 'psycopg', 'sklearn'}"
    program = f"import sys\nfrom headwater import *\nsys.exit(len({clients} & set(sys.modules)))\n"
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=60)
