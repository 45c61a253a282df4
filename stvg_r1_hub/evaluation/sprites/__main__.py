"""Write sprite-world clips: `python -m stvg_r1_hub.evaluation.sprites --level easy --out DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.evaluation.sprites.clips import write_clips


def main() -> int:
    """Command line of this package; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m stvg_r1_hub.evaluation.sprites",
        description="Render sprite-world clips and their ground truth.",
    )
    parser.add_argument("--level", default="easy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=10, help="how many clips")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    try:
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
