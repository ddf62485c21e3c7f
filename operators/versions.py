"""An operator's version: what people called it, its parameters and the meaning of its functions, as one short hash."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable
from typing import Any


def version_of(human: str, params: dict[str, Any], *functions: Callable[..., Any]) -> str:
    """Twelve hex digits that change when `human`, a parameter (JSON values) or what a function does in its own
    lines changes; comments and layout do not count."""
    parts = [human, json.dumps(params, sort_keys=True), *map(_meaning, functions)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _meaning(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return f"{_meaning(function.func)}({function.args!r}, {function.keywords!r})"
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return _compiled(function)
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a lambda within a larger expression has no lines of its own
        return _compiled(function)
    return ast.unparse(tree)


def _compiled(function: Callable[..., Any]) -> str:
    """What is left where the source cannot be had."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = getattr(function, "__code__", None)
    return name if code is None else f"{name} {code.co_code.hex()} {code.co_consts!r} {code.co_names!r}"
