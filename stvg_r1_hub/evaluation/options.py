"""The options of `stvg eval`, and which command each way of calling it starts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from stvg_r1_hub.evaluation.command import eval_files, eval_sprites, without_benchmark

ANSWERS = ("ids", "boxes")
NAMES = (
    "hcstvg-v1", "hcstvg-v2", "vidstg", "vidstg-declarative", "vidstg-interrogative", "st-align",
    "v-star", "anygroundbench", "mevis", "mevis-v2", "charades-sta", "charades-timelens",
    "activitynet-timelens", "qvhighlights-timelens", "qvhighlights", "tvgbench",
)  # fmt: skip
"""`catalogue.BENCHMARKS`, repeated so that asking for help loads nothing heavy; a test holds it."""


def add_eval(commands: Any) -> None:
    """Add `eval` to the sub-commands of `stvg`."""
    evaluate: argparse.ArgumentParser = commands.add_parser(
        "eval",
        help="measure a model, or compare two measurements",
        description="Ask a model about every sample of a benchmark; results, report and pictures "
        "go to --out. Run the same command again to take up a run that was stopped; start it with "
        "`accelerate launch -m stvg_r1_hub.cli eval ...` to share the work among devices.",
    )
    evaluate.add_argument(
        "--compare",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="two or more results folders: paired differences from the first, with 95 %% bootstrap "
        "intervals",
    )
    evaluate.add_argument(
        "--page", type=Path, metavar="DIR", help="of --compare: folder for it as a page with plots"
    )
    evaluate.add_argument(
        "--report", type=Path, metavar="DIR", help="write the report of a results folder again"
    )
    evaluate.set_defaults(run=without_benchmark)
    benchmarks = evaluate.add_subparsers(metavar="BENCHMARK")
    for name in NAMES:
        _add_benchmark(benchmarks.add_parser(name, help=f"{name}, from its annotation file"), name)
    sprites = benchmarks.add_parser("sprites", help="on rendered clips of the sprite world")
    sprites.set_defaults(run=eval_sprites)
    sprites.add_argument("--level", default="easy", help="difficulty (default: easy)")
    sprites.add_argument("--seed", type=int, default=0, help="which clips (default: 0)")
    sprites.add_argument("--n", type=int, default=20, help="how many clips (default: 20)")
    sprites.add_argument(
        "--true-tracks",
        action="store_true",
        help="the true boxes as tracks, to tell the model from the tracker",
    )
    sprites.add_argument(
        "--out", type=Path, help="results folder; without it the figures alone are printed"
    )
    _add_run(sprites)


def _add_benchmark(parser: argparse.ArgumentParser, name: str) -> None:
    parser.set_defaults(run=eval_files, benchmark=name)
    parser.add_argument(
        "--annotations", type=Path, help="annotation file, or the split's folder (mevis)"
    )
    parser.add_argument("--videos", type=Path, help="folder of the videos")
    if name.startswith("hcstvg"):
        parser.add_argument(
            "--first-frame-number",
            type=int,
            choices=(0, 1),
            default=1,
            help="what st_frame calls the first frame of a clip (default: 1)",
        )
    if name.startswith("mevis"):
        parser.add_argument(
            "--submission",
            type=Path,
            help="folder of PNG masks to write, for the valid and test splits too, whose "
            "truth is not public",
        )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse the annotations for a single wrong record or box; without it these are "
        "set aside, and the report counts and lists them",
    )
    parser.add_argument("--out", type=Path, required=True, help="results folder")
    parser.add_argument(
        "--hub-dataset",
        metavar="OWNER/NAME[:TASK]",
        help="what these annotations are on the Hub, if they are a benchmark there: a model "
        "saved with these results then carries them in the Hub's format (task: default)",
    )
    _add_run(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        help="model, or a plain vision-language model as baseline (default: tiny, or with "
        "--server zero-shot, the settings for any model)",
    )
    parser.add_argument("--revision", help="branch, tag or commit of a Hub model")
    add_server(parser)
    parser.add_argument(
        "--answers",
        choices=ANSWERS,
        default="ids",
        help="how the model answers: with an object's number, or by writing boxes as text",
    )
    parser.add_argument("--tracker", default="auto", help="as for `stvg track` (default: auto)")
    parser.add_argument(
        "--classes",
        help="what is tracked: all, person, non-person, or names with commas (default: as the "
        "model's settings say; of HC-STVG person, as the official code)",
    )
    parser.add_argument("--tracks", type=Path, help="folder of prepared tracks, one a video")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument(
        "--passes",
        type=passes_from_text,
        choices=(1, 2, "auto"),
        default=1,
        help="looks at each clip, as for `stvg ground` (default: 1)",
    )
    parser.add_argument("--max-samples", type=int, help="only the first so many samples")
    parser.add_argument("--json", help="figures to write as JSON; - prints them")
    if not any("--seed" in action.option_strings for action in parser._actions):
        parser.add_argument("--seed", type=int, default=0, help="of the model's sampling")


def add_server(parser: argparse.ArgumentParser) -> None:
    """Add the options of a model on a server."""
    parser.add_argument(
        "--server", metavar="URL", help="ask an OpenAI-compatible server that runs the model"
    )
    parser.add_argument(
        "--server-input",
        choices=("auto", "video", "frames", "images"),
        default="auto",
        help="how the server is sent the marked frames (default: by what it is)",
    )


def passes_from_text(text: str) -> int | str:
    """The value of `--passes`, where a number is meant as one."""
    return int(text) if text.isdecimal() else text
