"""Models are data: nothing of ours reads or writes a form that runs code, and loading one imports and runs nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("catalog", "streams", "operators", "headwater", "examples", "benchmarks", "migrations")
FORBIDDEN = {
    "pickle",
    "_pickle",
    "cPickle",
    "pickletools",
    "cloudpickle",
    "joblib",
    "dill",
    "marshal",
    "shelve",
    "jsonpickle",
}
#: What the loader must not call: it would let content choose what runs.
CALLS = {"eval", "exec", "compile", "__import__", "import_module", "find_class", "attrgetter", "methodcaller"}
SOURCES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def path_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None


def loader() -> set[Path]:
    """Every file of ours that is reached from the loader of models."""
    found: set[Path] = set()
    waiting = [ROOT / "operators" / "model" / "format.py", ROOT / "operators" / "predict" / "inbox.py"]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [there for name in imports(path) if (there := path_of(name)) is not None]
    return found


def test_nothing_of_ours_imports_what_runs_code_when_it_reads() -> None:
    assert len(SOURCES) > 200
    found = {
        str(path.relative_to(ROOT)): name
        for path in SOURCES
        for name in imports(path)
        if set(name.split(".")) & FORBIDDEN
    }
    assert found == {}


def test_nothing_of_ours_asks_numpy_or_pandas_to_unpickle() -> None:
    words = ("allow_pickle=True", "read_pickle", "to_pickle", "np.load(")
    assert [(str(path), word) for path in SOURCES for word in words if word in path.read_text()] == []


def test_the_loader_calls_nothing_by_a_name_that_content_could_choose() -> None:
    files = loader()
    assert ROOT / "operators" / "model" / "registry.py" in files
    assert ROOT / "operators" / "model" / "artefact.py" in files
    model = [path for path in files if path.parent.name == "model"]
    for path in model:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                if name == "compile" and isinstance(node.func, ast.Attribute):
                    continue
                assert name not in CALLS, f"{path.name}:{node.lineno} calls {name}"


def test_the_loader_reaches_no_module_that_runs_code_when_it_reads() -> None:
    names = {name for path in loader() for name in imports(path)}
    assert {part for name in names for part in name.split(".")} & FORBIDDEN == set()


PROGRAM = """
import pickle, sys
import numpy as np, pyarrow as pa
from sklearn.linear_model import SGDClassifier
from operators.model.artefact import MAGIC, Artefact, ModelError, decode, encode
from operators.model.format import dump, load
from operators.model.learner import learner

rows = pa.record_batch({"a": [1.0, 2.0, 3.0]})
one = learner(SGDClassifier(loss="log_loss", random_state=0), ["a"], rows.schema, classes=[False, True])
one.partial_fit(rows, [False, True, True])
good = encode(dump(one))
load(decode(good, "x"), "x").predict_proba(rows)

class Exploit:
    def __reduce__(self):
        return exec, ("import os; os.environ['RAN'] = '1'",)

def forged(change):
    artefact = dump(one)
    change(artefact.manifest)
    return encode(artefact)

bad = [
    pickle.dumps(Exploit()),
    MAGIC + pickle.dumps(Exploit()),
    forged(lambda manifest: manifest["parts"][0].update({"class": "os.system"})),
    forged(lambda manifest: manifest["parts"][0].update({"class": "antigravity.fly"})),
    forged(lambda manifest: manifest["parts"][0]["parameters"].update({"loss": "builtins.exec"})),
    good[:-1],
]
try:
    load(decode(bad[2], "x"), "x")
except ModelError:
    pass

seen = []
watched = {"import", "exec", "compile", "pickle.find_class", "open", "os.system", "subprocess.Popen", "socket.connect"}
sys.addaudithook(lambda event, args: seen.append((event, str(args)[:80])) if event in watched else None)
for content in (good, *bad):
    try:
        load(decode(content, "x"), "x")
    except ModelError:
        seen.append(("refused", ""))
print(seen)
"""


def test_loading_a_model_imports_opens_and_runs_nothing() -> None:
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ast.literal_eval(done.stdout) == [("refused", "")] * 6


def test_headwater_does_not_wait_for_scikit_learn() -> None:
    program = (
        "import sys\nimport headwater as hw\nhw.Pipeline, hw.connect, hw.features\nprint('sklearn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "False"
