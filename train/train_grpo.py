"""GRPO: sample answers, reward them, make the better ones more probable.

    python -m train.train_grpo --config train/configs/lora_7b_1gpu.yaml --data prepared --out runs/x
    accelerate launch --config_file train/configs/accelerate/ddp.yaml -m train.train_grpo ...

`--resume` goes on from the last checkpoint, `--dry-run` only says what it would take. The trained
model lands in `<out>/model`, a folder for `STVGPipeline.from_pretrained`.
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
    from train.grpo.learning import GrpoObjective

    return GrpoObjective


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    return run_training(_objective, __doc__ or "", arguments, groups=True)


if __name__ == "__main__":
    sys.exit(main())
