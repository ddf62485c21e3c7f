"""The root of every error that Headwater raises on purpose: what was wrong, where, and what to do."""

from __future__ import annotations

from typing import Any


class HeadwaterError(Exception):
    """What was wrong, where, and what to do about it.

    `where` names the stream, task, file or address concerned; `fix` says what the reader can do.
    Each subclass has its own `exit_code`, which the command line returns.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        place = f" [{where}]" if where else ""
        advice = f" {fix}" if fix else ""
        super().__init__(f"{what}{place}{advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between processes, also those whose subclass is made from other arguments.
        return _made_again, (type(self), self.args, self.__dict__)


def _made_again(kind: type[HeadwaterError], args: tuple[Any, ...], attributes: dict[str, Any]) -> HeadwaterError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class CatalogError(HeadwaterError):
    """The catalog refused a change or could not answer."""

    exit_code = 3


class NotRegistered(CatalogError):
    """Something was asked for by a name that the catalog does not hold."""

    exit_code = 4


class Incompatible(CatalogError):
    """A change that readers or writers of a registered stream could not follow."""

    exit_code = 5


class CatalogBusy(CatalogError):
    """Another process held the catalog for longer than the time allowed; nothing was changed."""
