"""Open Data Contract Standard 3.1: a contract file declares a stream, and a declared stream is written as one."""

from __future__ import annotations

from streams.odcs.document import contract_text, load_document
from streams.odcs.read import read_contract
from streams.odcs.write import write_contract

__all__ = ["contract_text", "load_document", "read_contract", "write_contract"]
