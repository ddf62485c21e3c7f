"""The source of a user's function in a normal form, and its hash: what a version is made from.

The form keeps what decides the result (code, defaults, closed-over and global plain values, functions of the same
module that it calls) and leaves out what does not (layout, comments, docstrings).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import types
from collections.abc import Iterable
from typing import Any, Final

_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
_Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def source_hash(*functions: Any) -> str:
    """16 hexadecimal digits; equal for functions that are written equally."""
    text = "\0".join(normal_source(function) for function in functions)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def normal_source(function: Any) -> str:
    """The function's source without layout, comments and docstrings, followed by what it refers to.

    A bound method, a callable object or a `functools.partial` counts with what it is bound to. Where no source
    can be found (typed at a prompt) the byte code stands for it; anything else is its `repr`.
    """
    return "\n".join(_described(function, set()))


def _described(function: Any, seen: set[int]) -> Iterable[str]:
    if id(function) in seen:
        return
    seen.add(id(function))
    wrapped = inspect.unwrap(function) if callable(function) else function
    if isinstance(wrapped, types.MethodType):
        yield f"self {_value_text(wrapped.__self__)}"
        wrapped = wrapped.__func__
    if hasattr(wrapped, "func") and hasattr(wrapped, "keywords"):
        yield f"partial {_value_text(wrapped.args)} {_value_text(wrapped.keywords)}"
        yield from _described(wrapped.func, seen)
        return
    if not isinstance(wrapped, types.FunctionType):
        if isinstance(inspect.getattr_static(type(wrapped), "__call__", None), types.FunctionType):
            yield _value_text(wrapped)
            yield from _described(inspect.getattr_static(type(wrapped), "__call__"), seen)
        else:
            yield _value_text(wrapped)
        return
    yield _code_text(wrapped)
    yield f"defaults {_value_text(wrapped.__defaults__)} {_value_text(wrapped.__kwdefaults__)}"
    referred = inspect.getclosurevars(wrapped)
    for name, value in sorted({**referred.globals, **referred.nonlocals}.items()):
        if isinstance(value, types.FunctionType) and value.__module__ == wrapped.__module__:
            yield f"{name} ="
            yield from _described(value, seen)
        else:
            yield f"{name} = {_value_text(value)}"


def _value_text(value: Any) -> str:
    """Values by value, functions and classes by name, objects whose repr is a memory address by their attributes."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(_value_text, value))})"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}({', '.join(sorted(map(_value_text, value)))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{_value_text(key)}: {_value_text(item)}' for key, item in value.items())})"
    if isinstance(value, types.ModuleType):
        return value.__name__
    name = getattr(value, "__qualname__", None)
    if name is not None:
        return f"{getattr(value, '__module__', '')}.{name}"
    text = repr(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if " at 0x" not in text:
        return f"{kind} {text}"
    return f"{kind} {_value_text(dict(getattr(value, '__dict__', {})))}"


def _code_text(function: types.FunctionType) -> str:
    node = _node_of(function)
    if node is None:
        return f"code {function.__code__.co_code.hex()} {_value_text(function.__code__.co_names)}"
    if isinstance(node, ast.Lambda):
        return ast.unparse(node)
    node.decorator_list = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(inner):
            inner.body = inner.body[1:] or [ast.Pass()]
    node.name = "_"
    return ast.unparse(node)


def _node_of(function: types.FunctionType) -> _Node | None:
    """The function's place in the syntax tree of its file: found by line, among several on one line by column."""
    code = function.__code__
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        return None
    found = [node for node in ast.walk(tree) if isinstance(node, _Node) and _first_line(node) == code.co_firstlineno]
    wanted = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef | ast.AsyncFunctionDef
    found = [node for node in found if isinstance(node, wanted)]
    if len(found) <= 1:
        return found[0] if found else None
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
    inside = [node for node in found if all(_holds(node, place) for place in places)]
    return min(inside or found, key=lambda node: len(ast.unparse(node)))


def _first_line(node: _Node) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _holds(node: _Node, place: tuple[int, int]) -> bool:
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    return (node.lineno, node.col_offset) <= place <= end
