#!/usr/bin/env python3
"""Makes every family's tiny model and golden anew: `python generate.py [FAMILY ...]`. See README.md."""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent


def main():
    from generator import decoders, encoders, export, seq2seq

    export.quiet()
    table = {f.name: (module, f) for module in (decoders, seq2seq, encoders) for f in module.FAMILIES}
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(table)}")
    arguments.add_argument("--out", type=Path, default=HERE)
    given = arguments.parse_args()
    for name in given.families or table:
        if name not in table:
            arguments.error(f"no family is named {name}: there are {', '.join(table)}")
        began = time.time()
        module, family = table[name]
        module.generate(family, given.out)
        print(f"{name}: {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
