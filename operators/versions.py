"""An operator's version: what a person called it, and a hash of everything that decides its output."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from streams.function_source import normal_source


def version_of(human: str, params: Mapping[str, Any], *functions: Callable[..., Any]) -> str:
    """`<human>-<12 hexadecimal digits>`; the same for equal parameters (JSON values) and equally written functions,
    whatever their layout, comments and docstrings."""
    text = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    sources = "\0".join(normal_source(function) for function in functions)
    return f"{human}-{hashlib.sha256(text + sources.encode()).hexdigest()[:12]}"
