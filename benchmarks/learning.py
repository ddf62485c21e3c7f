"""How fast learning is, and how good, beside its peers: labels, training, prediction, drift, profiles, in one run.

    python -m benchmarks.learning [--quick] [PART ...]

Each part (benchmarks/parts/) is a process of its own, which names what it compares and prints a table with ratios; a
peer that is not installed is named and left out. `--quick` takes fewer rows and worlds: a look, not a measurement.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: For each part: what it is about, and the options of a quick look.
PARTS = {
    "label": ("Weak labels: ten functions, the label model, worlds of votes", "--rows 200000 --worlds 5 --repeat 1"),
    "train": ("Test, then train: candidates, promotion, accuracy where rules turn", "--rows 20000 --repeat 1"),
    "predict": ("Predict", "--rows 100000"),
    "drift": ("Drift: errors and columns", "--seeds 2 --worlds 20 --rows 20000"),
    "profile": ("Profiles", "--rows 100000 --repeat 1"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    unknown = [name for name in given.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    failed = []
    for name in given.parts or PARTS:
        title, quick = PARTS[name]
        print(f"\n=== {title}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.parts.{name}", *(quick.split() if given.quick else [])]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
