"""Completion of names: read from the catalog's database without opening the catalog, so that a Tab does not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from catalog.errors import HeadwaterError
from catalog.names import Named, names


def _complete(kind: Named) -> Callable[[Any, str], list[str]]:
    def complete(ctx: Any, incomplete: str) -> list[str]:
        from headwater.config import Config

        try:
            config = Config.find(workspace=ctx.params.get("workspace"))
        except HeadwaterError:
            return []
        return names(config.catalog, kind, incomplete)

    return complete


streams = _complete("stream")
operators = _complete("operator")
datasets = _complete("dataset")
owners = _complete("owner")
tags = _complete("tag")
entities = _complete("entity")
