"""The control plane: what exists, who owns it, what it means, where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from catalog.errors import CatalogBusy, CatalogError, HeadwaterError, Incompatible, NotRegistered
from catalog.specs import (
    ContractSpec,
    DatasetSpec,
    EntitySpec,
    FieldLink,
    FieldSpec,
    InputSpec,
    OperatorSpec,
    OutputSpec,
    PipelineSpec,
    StreamSpec,
)

if TYPE_CHECKING:
    from catalog.catalog import Catalog

__all__ = [
    "Catalog",
    "CatalogBusy",
    "CatalogError",
    "ContractSpec",
    "DatasetSpec",
    "EntitySpec",
    "FieldLink",
    "FieldSpec",
    "HeadwaterError",
    "Incompatible",
    "InputSpec",
    "NotRegistered",
    "OperatorSpec",
    "OutputSpec",
    "PipelineSpec",
    "StreamSpec",
]


def __getattr__(name: str) -> Any:
    # SQLAlchemy takes a third of a second to import; whoever needs only errors and specs does not wait for it.
    if name == "Catalog":
        from catalog.catalog import Catalog

        return Catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
