"""Write sprite-world clips, or say how hard a level is.

python -m stvg_r1_hub.sprites --level hard --n 10 --out DIR
python -m stvg_r1_hub.sprites --level hard --n 1000 --statistics
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.sprites.clips import write_clips
from stvg_r1_hub.sprites.statistics import level_statistics


def main() -> int:
    """Command line of this package; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m stvg_r1_hub.sprites",
        description="Render sprite-world clips and their ground truth, or count what they hold.",
    )
    parser.add_argument("--level", default="easy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10, help="how many clips")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder to write clips into")
    what.add_argument("--statistics", action="store_true", help="print shares and baselines")
    options = parser.parse_args()
    try:
        if options.statistics:
            figures = level_statistics(options.level, options.seed, options.n)
            sys.stdout.write(json.dumps(figures, indent=1) + "\n")
            return 0
        with tqdm(total=options.n, desc="render", unit="clip") as bar:
            path = write_clips(
                options.level,
                options.seed,
                options.n,
                options.out,
                progress=lambda stage, done, total: bar.update(done - bar.n) and None,
            )
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write(f"wrote {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
