"""Finding the pipeline in a file or module, and errors that point into the user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.cli.load import LoadError, load_function, load_pipeline

ONE = 'import headwater as hw\np = hw.Pipeline("one")\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_one_pipeline_of_a_file(folder: Path) -> None:
    assert load_pipeline(write(folder, "job_one.py", ONE + "same = p\n")).name == "one"


@pytest.mark.parametrize("builder", ["build", "pipeline"])
def test_a_function_that_builds_it(folder: Path, builder: str) -> None:
    text = f'import headwater as hw\ndef {builder}():\n    return hw.Pipeline("built")\n'
    assert load_pipeline(write(folder, f"job_{builder}.py", text)).name == "built"


def test_a_name_in_a_file_or_module(folder: Path) -> None:
    file = write(folder, "job_two.py", ONE + 'q = hw.Pipeline("two")\ndef made(): return q\n')
    assert load_pipeline(f"{file}:q").name == "two"
    assert load_pipeline("job_two:q").name == "two"
    assert load_pipeline("job_two:made").name == "two"
    with pytest.raises(LoadError, match="several pipelines: p, q"):
        load_pipeline(file)


def test_a_file_sees_its_neighbours(folder: Path) -> None:
    write(folder, "plain/neighbour_of_job.py", "NAME = 'beside'\n")
    beside = "import headwater as hw\nfrom neighbour_of_job import NAME\np = hw.Pipeline(NAME)\n"
    assert load_pipeline(write(folder, "plain/job_beside.py", beside)).name == "beside"


def test_a_file_of_a_package_is_imported_as_part_of_it(folder: Path) -> None:
    write(folder, "jobs_package/__init__.py", "")
    write(folder, "jobs_package/names.py", "NAME = 'inside'\n")
    text = "import headwater as hw\nfrom .names import NAME\np = hw.Pipeline(NAME)\n"
    assert load_pipeline(write(folder, "jobs_package/job.py", text)).name == "inside"


def test_two_files_of_one_name_do_not_meet(folder: Path) -> None:
    first = write(folder, "a/same_name.py", ONE)
    second = write(folder, "b/same_name.py", ONE.replace("one", "other"))
    assert [load_pipeline(first).name, load_pipeline(second).name] == ["one", "other"]


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("x = 1\n", "no pipeline in it", "job.py"),
        ("x = (\n", "not Python: '(' was never closed", "job.py line 1: x = ("),
        ("\nx = 1 / 0\n", "ZeroDivisionError: division by zero", "job.py line 2: x = 1 / 0"),
        ("import no_such_module_here\n", "No module named 'no_such_module_here'", "line 1: import no_such"),
        ("raise SystemExit(3)\n", "SystemExit: 3", "line 1: raise SystemExit(3)"),
        ("def build():\n    return 5\n", "a function that returns int", "job.py"),
        ("def build():\n    return [][1]\n", "IndexError", "job.py line 2: return [][1]"),
        (ONE + 'p.stream("x", dict)\n', "does not declare a schema", 'job.py line 3: p.stream("x", dict) ['),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(folder: Path, text: str, what: str, where: str) -> None:
    with pytest.raises(LoadError) as caught:
        load_pipeline(write(folder, "job.py", text))
    assert what in caught.value.what
    assert where in str(caught.value.where)
    assert caught.value.fix


def test_an_error_of_ours_keeps_its_exit_code(folder: Path) -> None:
    text = ONE + 'from catalog import Incompatible\nraise Incompatible("it does not fit")\n'
    with pytest.raises(LoadError) as caught:
        load_pipeline(write(folder, "job_ours.py", text))
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("target", ["nothing.py", "neither", "no_such_module_here:p", "folder/"])
def test_what_is_not_there_is_refused(folder: Path, target: str) -> None:
    with pytest.raises(LoadError) as caught:
        load_pipeline(target)
    assert caught.value.exit_code == 2


def test_a_function_by_name(folder: Path) -> None:
    file = write(folder, "mending.py", "def mend(rows):\n    return rows\n")
    assert load_function(f"{file}:mend")(3) == 3
    with pytest.raises(LoadError, match="its functions: mend"):
        load_function(f"{file}:mand")
    with pytest.raises(LoadError, match="not said which"):
        load_function(file)
