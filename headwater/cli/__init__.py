"""The command line, a thin shell over the library: a module for each group of commands; `main` is the entry point."""

from __future__ import annotations

from headwater.cli.app import app, main

__all__ = ["app", "main"]
