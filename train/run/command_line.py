"""The command line that `train_grpo` and `train_sft` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stvg_r1_hub import hub
from stvg_r1_hub.errors import ConfigError, STVGError
from train.data.samples import PreparedSamples, SampleSource
from train.miniature.sprite_questions import SpriteQuestions
from train.miniature.written_boxes import BoxQuestions
from train.run.training_config import TrainingConfig

if TYPE_CHECKING:
    from train.run.loop import ObjectiveMaker

WORLDS = {"sprites": SpriteQuestions, "boxes": BoxQuestions}
"""What `--data` renders instead of reading a folder; boxes: no numbers, boxes as text."""
_REQUEST = "LEVEL[:SEED[:COUNT[:PERCENT]]]"
"""PERCENT: of the questions, answered by nothing; left out, as the level has them."""


def run_training(
    objective: Callable[[], ObjectiveMaker],
    description: str,
    arguments: Sequence[str] | None,
    *,
    groups: bool,
) -> int:
    """Read the arguments, check everything, train; the exit code.

    Args:
        objective: gives what is learned; called when the arguments are found to be good.
        description: the module's docstring.
        arguments: of the command line; None takes `sys.argv`.
        groups: whether G completions a prompt are sampled, for `--dry-run`.
    """
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="YAML file of settings")
    parser.add_argument(
        "--data",
        help=f"folder of train.prepare; or sprites:{_REQUEST} for sprite world",
    )
    parser.add_argument(
        "--validation", help="held-out samples, named as --data, looked at now and then"
    )
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--dry-run", action="store_true", help="say what it takes, and stop")
    parser.add_argument("--model", help="start from this checkpoint instead of the config's")
    args = parser.parse_args(arguments)
    overrides: dict[str, Any] = {"model": args.model} if args.model else {}
    try:
        config = TrainingConfig.load(args.config, **overrides)
        if args.dry_run:
            from train.run.dry_run import describe_run

            report = describe_run(config, groups=groups)
            sys.stdout.write(report.text())
            return 0 if report.fits else 2
        if args.data is None or args.out is None:
            raise ConfigError("--data and --out are needed, except with --dry-run.")
        if groups and args.data.startswith("boxes:"):
            raise ConfigError(
                "The rewards of GRPO read numbers, and the answers of --data boxes: have none; "
                "train on it with train.train_sft, or take --data sprites:."
            )
        samples = open_samples(args.data, config)
        held_out = open_samples(args.validation, config) if args.validation else None
        from train.run.loop import TrainingLoop

        loop = TrainingLoop(config, samples, args.out, objective(), validation=held_out)
        folder = loop.run(resume=args.resume)
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; with --resume it goes on from the last checkpoint.\n")
        return 130
    sys.stderr.write(f"The trained model is in {folder}\n")
    return 0


def open_samples(data: str, config: TrainingConfig) -> SampleSource:
    """The samples that `--data` names; sprite world is rendered at the size of the model's frames.

    Raises:
        ConfigError: a sprite-world request that is not understood.
        AnnotationError: the folder is not usable.
    """
    world, *request = data.split(":")
    if world not in WORLDS or not request:
        return PreparedSamples(data)
    level, *texts = request
    if len(texts) > 3 or not all(text.isdecimal() for text in texts):
        raise ConfigError(f"Got --data {data!r}; write {world}:{_REQUEST}.")
    if world == "boxes" and len(texts) == 3:
        raise ConfigError(f"Got --data {data!r}; boxes always have an answer: leave PERCENT out.")
    numbers = [int(text) for text in texts]
    bundle = hub.load_bundle(config.model, hub.HubAccess(revision=config.revision), weights=False)
    return WORLDS[world](level, *numbers, model=bundle.config)
