"""Turn pip's report of a resolved installation (standard input) into pinned names, one a line (standard output)."""

from __future__ import annotations

import json
import re
import sys


def pins(report: dict[str, list[dict[str, dict[str, str]]]], own: str) -> list[str]:
    """`name==version` for every package but our own, in the order of their normalised names."""
    found = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"] for item in report["install"]}
    return [f"{found[name]['name']}=={found[name]['version']}" for name in sorted(found) if name != own]


if __name__ == "__main__":
    print("# Exact versions for every extra, resolved together on Python 3.11. Made by `make constraints`.")
    print("\n".join(pins(json.load(sys.stdin), own="headwater")))
