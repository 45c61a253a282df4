"""Supervised training on the same samples, config and loop: say what is right.

python -m train.train_sft --config train/configs/tiny.yaml --data prepared --out runs/sft
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train.run.command_line import run_training

if TYPE_CHECKING:
    from train.run.loop import ObjectiveMaker


def _objective() -> ObjectiveMaker:
    # Not at the top: a mistake in the call is told before torch is loaded.
    from train.run.supervised import SupervisedObjective

    return SupervisedObjective


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    return run_training(_objective, __doc__ or "", arguments, groups=False)


if __name__ == "__main__":
    sys.exit(main())
