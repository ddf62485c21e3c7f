"""From what a user names on the command line to a pipeline or contract, with errors that point into the user's file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from catalog.errors import HeadwaterError
from operators.pipeline import Pipeline

#: Functions that may make the pipeline of a file that holds none.
BUILDERS = ("build", "pipeline")
CONTRACTS = (".yaml", ".yml")


class LoadError(HeadwaterError):
    """A file or module from which no pipeline could be had."""

    exit_code = 2


def is_contract(target: str) -> bool:
    return Path(target).suffix in CONTRACTS


def load_pipeline(target: str) -> Pipeline:
    """The pipeline in `file.py`, or `file.py:name` or `module:name`: the one at module level, or what its function
    `build()` or `pipeline()` gives. LoadError, with the line of the user's file, if there is none or several."""
    module, file, attribute = _opened(target)
    if attribute:
        return _made(_attribute(module, attribute, target), attribute, file, target)
    found = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, Pipeline)}
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if found:
        names = [name for name, _ in found.values()]
        raise LoadError(
            f"There are several pipelines: {', '.join(names)}", where=target, fix=f"Say which: {target}:{names[0]}"
        )
    for name in BUILDERS:
        if callable(vars(module).get(name)):
            return _made(vars(module)[name], name, file, target)
    raise LoadError(
        "There is no pipeline in it",
        where=target,
        fix='Make one at module level, p = hw.Pipeline("name"), or in a function build() that returns it.',
    )


def load_function(target: str) -> Callable[..., Any]:
    """The function `name` in `file.py:name` or `module:name`. LoadError."""
    module, _, name = _opened(target)
    found = getattr(module, name, None) if name else None
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and value.__module__ == module.__name__]
        raise LoadError(
            f"There is no function {name!r} in it" if name else "It is not said which function",
            where=target,
            fix=f"Write FILE:NAME; its functions: {', '.join(known) or 'none'}.",
        )
    return found


def _opened(target: str) -> tuple[ModuleType, Path, str]:
    """The module that is named, its file, and the name in it, if one is said."""
    place, separator, attribute = target.partition(":")
    if place.endswith(".py") or Path(place).is_file():
        return *_module_of_file(Path(place)), attribute
    if separator:
        return *_module_named(place), attribute
    raise LoadError(
        "This is neither a Python file nor module:name",
        where=target,
        fix="Name a file that holds a Pipeline (pipeline.py), or a module and a name in it (plant.jobs:pipeline).",
    )


def _made(value: Any, name: str, file: Path, target: str) -> Pipeline:
    if isinstance(value, Pipeline):
        return value
    made = None
    if callable(value):
        with _pointing_into(file):
            made = value()
    if not isinstance(made, Pipeline):
        kind = type(value).__name__ if made is None else f"function that returns {type(made).__name__}"
        raise LoadError(
            f"{name} is not a pipeline but a {kind}",
            where=target,
            fix="Name a Pipeline, or a function that returns one.",
        )
    return made


def _attribute(module: ModuleType, name: str, target: str) -> Any:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if isinstance(value, Pipeline)]
        raise LoadError(
            f"It has no {name!r}", where=target, fix=f"Its pipelines: {', '.join(known) or 'none at module level'}."
        )
    return getattr(module, name)


def _module_named(name: str) -> tuple[ModuleType, Path]:
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise LoadError("There is no such module", where=name, fix="Run from the folder that holds it, or install it.")
    file = Path(spec.origin)
    with _pointing_into(file):
        return importlib.import_module(name), file


def _module_of_file(path: Path) -> tuple[ModuleType, Path]:
    if not path.is_file():
        raise LoadError("There is no such file", where=str(path), fix="Check the path.")
    file = path.resolve()
    folder = file.parent
    parts = [file.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    name = ".".join(parts)
    with _pointing_into(file):
        if len(parts) > 1:
            return importlib.import_module(name), file
        return _executed(name, file), file


def _executed(name: str, file: Path) -> ModuleType:
    """The file as a module of its own; it does not take the place of one that has its name already."""
    while name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(file):
        name = f"{name}_"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _pointing_into(file: Path) -> Iterator[None]:
    """Whatever the user's code raises becomes a LoadError that names the line of it."""
    try:
        yield
    except LoadError:
        raise
    except SyntaxError as error:
        where = f"{Path(error.filename or file).name} line {error.lineno}: {(error.text or '').strip()}"
        raise LoadError(f"The file is not Python: {error.msg}", where=where, fix="Mend the line.") from error
    except HeadwaterError as error:
        where = _line_in(file, error) + (f" [{error.where}]" if error.where else "")
        loading = LoadError(error.what, where=where, fix=error.fix)
        loading.exit_code = error.exit_code
        raise loading from error
    except (Exception, SystemExit) as error:
        raise LoadError(
            f"The file raised {type(error).__name__}: {error}",
            where=_line_in(file, error),
            fix=_advice(error),
        ) from error


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "Install it in the environment of this command, or run from the folder that holds it."
    if isinstance(error, SystemExit):
        return 'Put what ends the program under `if __name__ == "__main__":`.'
    return "Mend the line; --debug shows the whole traceback."


def _line_in(file: Path, error: BaseException) -> str:
    """The last line of the user's file that was running, else the last line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == file]
    frame = (own or list(frames))[-1]
    return f"{Path(frame.filename).name} line {frame.lineno}: {frame.line}"


__all__ = ["LoadError", "is_contract", "load_function", "load_pipeline"]
