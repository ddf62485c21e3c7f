"""A contract file as a document: loading and dumping without loss, and saying where in it something is wrong."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from streams.rule import ContractError

Document = dict[str, Any]

#: Our custom properties begin with this.
PREFIX: Final = "headwater."
_REQUIRED: Final = ("version", "apiVersion", "kind", "id", "status")
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a document: the file and the path, such as `schema[0].properties[2].logicalType`."""

    file: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file

    def at(self, key: str | int) -> Place:
        step = f"[{key}]" if isinstance(key, int) else f".{key}" if self.path else key
        return Place(self.file, self.path + step)

    def error(self, what: str, fix: str) -> ContractError:
        return ContractError(what, where=str(self), fix=fix)


class _Loader(yaml.SafeLoader):
    """Leaves dates as the text that they are, and refuses a key that is given twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def load_document(source: str | Path) -> tuple[Document, Place]:
    """The document in a file (a Path, or text that ends like a file name) or in the text itself, and its place.

    ContractError with line and column if it is not YAML, and if it is not a data contract of version 3.
    """
    file, text = _text_of(source)
    place = Place(file)
    try:
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the whole"
        why = getattr(error, "problem", None) or str(error)
        raise place.at(where).error(f"The contract is not valid YAML: {why}", "Mend the file there.") from error
    if not isinstance(document, dict):
        raise place.error("The contract is not a mapping", "Begin with `apiVersion: v3.1.0`.")
    for key in _REQUIRED:
        if key not in document:
            raise place.error(f"The required key {key!r} is missing", f"Add {key} at the top of the document.")
        text_at(document, key, place)
    if document["kind"] != "DataContract":
        raise place.at("kind").error(f"The kind is {document['kind']!r}", "Write `kind: DataContract`.")
    if not document["apiVersion"].startswith("v3."):
        raise place.at("apiVersion").error(
            f"The version {document['apiVersion']!r} of the standard is not known here", "Convert it to v3.1.0."
        )
    return document, place


def contract_text(source: str | Path) -> str:
    """The text of a contract, given as a file or as the text itself. ContractError if the file cannot be read."""
    return _text_of(source)[1]


def dump_document(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def text_at(holder: Document, key: str, place: Place, default: str | None = None) -> str:
    """The text under a key. ContractError if it is missing without a default, or is not text."""
    value = holder.get(key, default)
    if value is None:
        raise place.error(f"The required key {key!r} is missing", f"Add {key} there.")
    if not isinstance(value, str):
        raise place.at(key).error(f"{value!r} is not text", f'Put it in quotes: {key}: "{value}".')
    return value


def mappings_at(holder: Document, key: str, place: Place) -> list[tuple[Document, Place]]:
    """The mappings in the list under a key, each with its place; none if there is no such key."""
    found = holder.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise place.at(key).error(f"{key} is not a list", "Write one entry a line, each with a dash.")
    places = [place.at(key).at(number) for number in range(len(found))]
    for entry, where in zip(found, places, strict=True):
        if not isinstance(entry, dict):
            raise where.error(f"{entry!r} is not a mapping", "Write its parts as `key: value`.")
    return list(zip(found, places, strict=True))


def custom(holder: Document, name: str, default: Any = None) -> Any:
    """The value of our custom property of that name."""
    for entry in holder.get("customProperties") or ():
        if isinstance(entry, dict) and entry.get("property") == PREFIX + name:
            return entry.get("value")
    return default


def set_custom(holder: Document, name: str, value: Any) -> None:
    """Set our custom property; None removes it."""
    entries = [
        entry
        for entry in holder.get("customProperties") or ()
        if not (isinstance(entry, dict) and entry.get("property") == PREFIX + name)
    ]
    if value is not None:
        entries.append({"property": PREFIX + name, "value": value})
    if entries:
        holder["customProperties"] = entries
    else:
        holder.pop("customProperties", None)


def _text_of(source: str | Path) -> tuple[str, str]:
    if isinstance(source, str) and ("\n" in source or not source.endswith(_SUFFIXES)):
        return "the contract", source
    path = Path(source)
    try:
        return path.name, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(
            f"The contract file cannot be read: {error}", where=str(path), fix="Check the path and the file."
        ) from error
