"""The Faust engine: Faust keeps the group, each task keeps its transaction."""

from __future__ import annotations

from operators.engines.faust.app import App, Settings, make_app
from operators.engines.faust.run import run

__all__ = ["App", "Settings", "make_app", "run"]
