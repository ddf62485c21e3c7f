"""Headwater: streams with a catalog, where every stream can be found and every row followed to its source.

The public names are those of `headwater.public`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from headwater.public import *  # noqa: F403
else:
    # Arrow and SQLAlchemy take a second to import; `headwater --help` does not wait for them.
    def __getattr__(name: str) -> Any:
        if not name.startswith("__") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        if name == "__all__" or not name.startswith("__"):
            public = import_module("headwater.public")
            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *import_module("headwater.public").__all__})
