#!/usr/bin/env python3
"""Runs ONNX Runtime on each committed file, compares with its golden, and shows that a golden notices a wrong weight and a missing mask. See README.md."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent


# A table's rows that no golden uses may change without a trace.
LEAST_NOTICED = 0.9


def mutations(directory: Path, golden: dict) -> bool:
    """Changes each weight of the first f32 run, and drops a mask; true where the golden notices."""
    from generator import compare, mutate

    run = next(r for r in golden["runs"] if r["dtype"] == "f32")
    tried = noticed = 0
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy")
        for role in run["files"]:
            for mutation in mutate.each_weight():
                if not mutation.apply(directory, run, role, copy):
                    break
                tried += 1
                noticed += not compare.run(copy, golden, run).within
        mask = True
        role = mutate.MASK_ROLES[golden["kind"]]
        if mutate.MASK.apply(directory, run, role, copy):
            mask = not compare.run(copy, golden, run).within
        else:
            mask = None
    good = noticed >= LEAST_NOTICED * tried and mask is not False
    told = {True: "noticed", False: "NOT NOTICED", None: "no mask found"}[mask]
    print(f"{directory.name:<22} changed weights noticed: {noticed} of {tried}; dropped mask: {told}{'' if good else ' FAILED'}", flush=True)
    return good


def main():
    from generator import compare

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", help="directories that hold a golden.json; default: all")
    arguments.add_argument("--in", dest="root", type=Path, default=HERE)
    arguments.add_argument("--no-mutations", action="store_true")
    given = arguments.parse_args()
    failed = 0
    for path in sorted(given.root.glob("*/golden.json")):
        if given.names and path.parent.name not in given.names:
            continue
        golden = json.loads(path.read_text())
        for run in golden["runs"]:
            result = compare.run(path.parent, golden, run)
            failed += not result.within
            print(f"{path.parent.name:<22} {run['dtype']:<6} {result}", flush=True)
        if given.no_mutations:
            continue
        failed += not mutations(path.parent, golden)
    sys.exit(f"{failed} checks failed" if failed else 0)


if __name__ == "__main__":
    main()
