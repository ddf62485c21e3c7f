"""A database's address as it may be shown: without its password."""

from __future__ import annotations

import re
from typing import Final

_IN_USER: Final = re.compile(r"(?<=://)([^:/?#@]*):[^/?#]*@")
_IN_QUERY: Final = re.compile(r"(?<=[?&]password=)[^&]*")


def shown(url: str) -> str:
    """The address with `***` where a password stands."""
    return _IN_QUERY.sub("***", _IN_USER.sub(r"\1:***@", url))
