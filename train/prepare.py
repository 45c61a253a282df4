"""Annotations and videos to training samples: tracks, the right number, frames with numbers drawn.

    python -m train.prepare --dataset hcstvg --annotations train_v2.json --videos videos \\
        --model Qwen/Qwen2.5-VL-7B-Instruct --out prepared
    accelerate launch --num_processes 8 -m train.prepare ...

`--official` prepares as the published checkpoint's data was: the paper's tracker, the official
vote, frames numbered from 0; of HC-STVG persons alone.

Each process takes its share of the videos. A finished video is a folder that appears whole, so a
killed run goes on where it was when started again. A video that cannot be used is listed in
`failed.jsonl` with its reason and does not stop the run; a wrong annotation, or a sentence whose
object no track follows, is listed in `set_aside.jsonl`. The format is described in
`train/data/samples.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig, TrackingConfig
from stvg_r1_hub.errors import ConfigError, OutputError, STVGError
from stvg_r1_hub.evaluation.benchmarks.hcstvg import read_hcstvg
from stvg_r1_hub.evaluation.benchmarks.vidstg import read_vidstg
from stvg_r1_hub.evaluation.samples import Annotations, SetAside
from stvg_r1_hub.outputs import make_folder, replacing
from stvg_r1_hub.segmentation import load_segmenter
from stvg_r1_hub.tracking import Tracker, load_tracker
from train.data.preparer import Preparation, Preparer, Work, aside_line, divide, write_json
from train.data.samples import FAILED, RECORD, SAMPLES, SET_ASIDE, SETTINGS

DATASETS: dict[str, Callable[..., Annotations]] = {"hcstvg": read_hcstvg, "vidstg": read_vidstg}
OFFICIAL = {"tracker": "paper", "match": "official", "first_frame": 0}
"""What `--official` stands for, besides sampling, marker and prompt of the official settings."""
OFFICIAL_SEGMENTER = "facebook/sam2.1-hiera-large"
USUAL = {"tracker": "auto", "match": "mean-iou", "first_frame": 1}
LONGEST_WAIT = timedelta(days=7)
"""How long processes that are done wait for the others."""


def begin(out: Path, preparation: Preparation, config: STVGConfig) -> None:
    """Make the folder, or check that it was begun in the same way.

    Raises:
        ConfigError: it holds samples that were made otherwise.
    """
    make_folder(out)
    (out / "failed").mkdir(exist_ok=True)
    values = dataclasses.asdict(preparation)
    path = out / SETTINGS
    if not path.exists():
        config.save(out)
        write_json(path, values)
        return
    earlier = {**json.loads(path.read_text(encoding="utf-8")), "stvg_config": STVGConfig.load(out)}
    for name, value in {**values, "stvg_config": config}.items():
        if earlier.get(name) != value:
            raise ConfigError(
                f"{out} was begun with {name} = {earlier.get(name)}, now it is {value}; "
                "name another --out."
            )


def finish(
    out: Path, works: Sequence[Work], wrong_annotations: Sequence[SetAside] = ()
) -> dict[str, int]:
    """Gather the finished clips into the three index files.

    Args:
        out: the prepared folder.
        works: all clips.
        wrong_annotations: what reading the annotations has set aside.

    Returns:
        How many samples are usable, set aside and failed, and how many boxes are set aside.

    Raises:
        OutputError: a clip is missing that another process has finished.
    """
    lines: dict[str, list[dict[str, Any]]] = {SAMPLES: [], SET_ASIDE: [], FAILED: []}
    for work in works:
        if work.failure(out).is_file():
            lines[FAILED].append(json.loads(work.failure(out).read_text(encoding="utf-8")))
            continue
        path = work.folder(out) / RECORD
        if not path.is_file():
            raise OutputError(
                f"{path} is missing; processes on several machines must share one disk for --out. "
                "Start again to make it."
            )
        record = json.loads(path.read_text(encoding="utf-8"))
        lines[SAMPLES] += record["samples"]
        lines[SET_ASIDE] += record["set_aside"]
    lines[SET_ASIDE] += [aside_line(fault) for fault in wrong_annotations]
    for name, values in lines.items():
        with replacing(out / name) as temporary:
            text = "".join(json.dumps(value) + "\n" for value in values)
            temporary.write_text(text, encoding="utf-8")
    boxes = sum(line.get("n_boxes", 0) for line in lines[SET_ASIDE])
    return {
        "usable": len(lines[SAMPLES]),
        "set aside": sum(not line.get("n_boxes") for line in lines[SET_ASIDE]),
        "failed": sum(len(line["samples"]) for line in lines[FAILED]),
        **({"boxes set aside": boxes} if boxes else {}),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", choices=sorted(DATASETS), required=True, help="their layout")
    parser.add_argument("--annotations", type=Path, required=True, help="its JSON file")
    parser.add_argument("--videos", type=Path, required=True, help="folder of its videos")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; again: goes on")
    parser.add_argument(
        "--model", help="checkpoint to train: its stvg_config.json says how; else the official way"
    )
    parser.add_argument(
        "--official", action="store_true", help="as the data of the published checkpoint was made"
    )
    parser.add_argument("--tracker", help="as for stvg ground (default: auto)")
    parser.add_argument(
        "--classes",
        help="what is tracked: all, person, non-person, or names with commas (default: of hcstvg "
        "person, as the official code; else as the model's settings say)",
    )
    parser.add_argument("--tracks", type=Path, help="folder of ready tracks, one a video")
    parser.add_argument(
        "--match",
        choices=("mean-iou", "official"),
        help="how the right object is found (default: mean-iou)",
    )
    parser.add_argument(
        "--minimum-iou", type=float, default=0.5, help="which it must reach (default: 0.5)"
    )
    parser.add_argument("--mirror", action="store_true", help="for the mirror reward")
    parser.add_argument(
        "--first-frame", type=int, choices=(0, 1), help="HC-STVG counts from 1 (default) or 0"
    )
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="try failed clips again, and make those anew whose files are damaged",
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse the annotations for a wrong record or box"
    )
    return parser


def _settle(args: argparse.Namespace) -> None:
    """Fill in what was not given, in the official way or the usual one.

    Raises:
        ConfigError: something was given that contradicts `--official`.
    """
    for name, value in (OFFICIAL if args.official else USUAL).items():
        given = getattr(args, name)
        if args.official and given not in (None, value):
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"--official means {option} {value}, got {given}; leave one of both out."
            )
        if given is None:
            setattr(args, name, value)


def _check_official(config: STVGConfig, model: str) -> None:
    """Whether a checkpoint is asked in the official way.

    Raises:
        ConfigError: names what differs.
    """
    for name in ("sampling", "marker", "prompt_id"):
        ours, official = getattr(config, name), getattr(STVGConfig(), name)
        if ours != official:
            raise ConfigError(
                f"--official needs a model with the official settings, but {model} has {name} = "
                f"{ours} instead of {official}; leave --official out."
            )


def _classes(args: argparse.Namespace, config: STVGConfig) -> str:
    """The classes that are tracked.

    Raises:
        ConfigError: some are named beside ready tracks.
    """
    if args.classes and args.tracks is not None:
        raise ConfigError(
            f"Got --classes {args.classes} with --tracks, of which all objects are used; leave "
            "one of them out."
        )
    if args.dataset == "hcstvg" and args.tracks is None:
        return args.classes or "person"
    return args.classes or config.tracking.class_mode


def _tracker(
    args: argparse.Namespace, config: TrackingConfig, bundle: hub.Bundle | None, device: str
) -> tuple[Tracker | None, str]:
    """What finds the objects, and a sentence that says it; ready tracks need nothing."""
    if args.tracks is not None:
        return None, f"Tracks: those in {args.tracks}."
    return load_tracker(
        args.tracker,
        config=config,
        bundle=bundle.detector_home if bundle else None,
        device=device,
        segmenter=functools.partial(
            load_segmenter, OFFICIAL_SEGMENTER if args.official else "auto", device=device
        ),
    )


def _recorded(args: argparse.Namespace, tracker: Tracker | None) -> str:
    """What a prepared folder keeps of the choice; what "auto" takes depends on the machine."""
    return tracker.name if tracker and args.tracker == "auto" else str(args.tracks or args.tracker)


def run(args: argparse.Namespace) -> int:
    """Prepare this process's share; the main process gathers.

    Raises:
        STVGError: annotations, model or tracker cannot be used.
    """
    _settle(args)
    extra = {"first_frame_number": args.first_frame} if args.dataset == "hcstvg" else {}
    annotations: Annotations = DATASETS[args.dataset](
        args.annotations, args.videos, strict=args.strict, **extra
    )
    works = divide(annotations.samples)
    bundle = hub.load_bundle(args.model, weights=False) if args.model else None
    config = bundle.config if bundle else STVGConfig()
    if args.official:
        _check_official(config, args.model)
    classes = _classes(args, config)
    # Not earlier: a mistake in the call is told before these are loaded.
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=LONGEST_WAIT)
    tracking = config.tracking.of_classes(classes)
    tracker, choice = _tracker(args, tracking, bundle, str(state.device.type))
    preparation = Preparation(
        dataset=args.dataset,
        annotations=hashlib.sha256(args.annotations.read_bytes()).hexdigest(),
        tracker=_recorded(args, tracker),
        classes=classes,
        match=args.match,
        minimum_iou=args.minimum_iou,
        mirror=args.mirror,
        first_frame_number=args.first_frame,
    )
    if state.is_main_process:
        sys.stderr.write("\n".join(filter(None, [choice, *annotations.warnings()])) + "\n")
        begin(args.out, preparation, config)
    state.wait_for_everyone()
    preparer = Preparer(preparation, config, tracker, args.out, tracks=args.tracks)
    mine = works[state.process_index :: state.num_processes]
    for work in mine if args.retry_failed else ():
        work.discard_unusable(args.out)
    left = [work for work in mine if not work.is_done(args.out)]
    for work in tqdm(left, initial=len(mine) - len(left), total=len(mine), unit="video",
                     desc="prepare", disable=not state.is_main_process):  # fmt: skip
        preparer.prepare(work)
    state.wait_for_everyone()
    if state.is_main_process:
        counts = finish(args.out, works, annotations.set_aside)
        summary = ", ".join(f"{count} {name}" for name, count in counts.items())
        sys.stderr.write(f"{summary}; see {args.out / SAMPLES}, {SET_ASIDE}, {FAILED}\n")
        return 0 if counts["usable"] else 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    try:
        return run(_parser().parse_args(arguments))
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; the same command goes on with the clips that are left.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
