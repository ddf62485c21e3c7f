"""The hook in conftest.py that lets nothing be skipped where CI=true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

def test_passes():
    pass

def test_skips():
    pytest.skip("no broker here")

@pytest.mark.xfail(reason="known", strict=True)
def test_fails_as_expected():
    assert False
"""


def outcome(folder: Path, suite: str, ci: str) -> tuple[int, str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_suite.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(command, env=environment | {"CI": ci}, cwd=folder, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout


def test_a_skip_is_a_failure_in_ci(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, SUITE, ci="true")
    assert code == 1
    assert "1 failed, 1 passed, 1 xfailed" in output
    assert "no broker here" in output


def test_a_skip_is_a_skip_elsewhere(tmp_path: Path) -> None:
    code, output = outcome(tmp_path, SUITE, ci="")
    assert code == 0
    assert "1 passed, 1 skipped, 1 xfailed" in output


@pytest.mark.parametrize(
    "statement", ['pytest.skip("none", allow_module_level=True)', 'pytest.importorskip("nowhere")']
)
def test_a_skipped_module_is_a_failure_in_ci(tmp_path: Path, statement: str) -> None:
    code, output = outcome(tmp_path, f"import pytest\n{statement}\n", ci="true")
    assert code != 0
    assert "nothing may be skipped" in output
