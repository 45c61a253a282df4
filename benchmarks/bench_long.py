"""A long video in which each question has one right moment: is it found, and at what price?

    python -m benchmarks.bench_long                        # ten minutes, ten questions, passes auto
    python -m benchmarks.bench_long --passes 1             # as the paper looks
    python -m benchmarks.bench_long --seconds 120 --questions 5 --out composite.mp4

Unseen sprite clips follow one another; those that would answer a question a second time are left
out. Prints what was answered, then processor seconds of tracking and of all looks, and the peak
memory of the process.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.sprites.clips import SIDE, clip_scene, object_boxes
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.sprites.scene import Scene
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.video import write_video

FPS = 12.0
FOUND_TIOU = 0.3
"""Overlap in time from which on an answer of the right object counts as the right moment."""


@dataclass(frozen=True)
class Placed:
    """A scene and when it begins in the long video."""

    scene: Scene
    start_seconds: float


def composite(
    level: str, seed: int, seconds: float, n_questions: int
) -> tuple[list[Placed], list[Placed]]:
    """Scenes one after the other, and those of them whose question is asked, spread evenly.

    No other scene answers such a question.
    """
    scenes = (clip_scene(level, seed, number) for number in itertools.count())
    asked: list[Scene] = []
    for scene in scenes:
        others = [*asked, scene]
        if scene.answer_range is not None and scene.traits.get("form", "plain") == "plain":
            if not any(_answers(a, b) for a in others for b in others if a is not b):
                asked.append(scene)
        if len(asked) == n_questions:
            break
    fillers = (scene for scene in scenes if not any(_answers(one, scene) for one in asked))
    placed, questions, now = list[Placed](), list[Placed](), 0.0
    while now < seconds:
        # The next question's scene comes when its share of the video has passed.
        k = len(questions)
        is_due = k < n_questions and now >= (k + 0.4) / n_questions * seconds
        scene = asked[k] if is_due else next(fillers)
        placed.append(Placed(scene, now))
        questions += placed[-1:] if is_due else []
        now += round(scene.duration_seconds * FPS) / FPS
    return placed, questions


def _answers(asked: Scene, scene: Scene) -> bool:
    """Whether a scene shows what the question of another asks for."""
    return bool(asked.question.answers(list(scene.objects), scene.duration_seconds))


def write_composite(placed: list[Placed], path: Path) -> None:
    """Render it to a file."""

    def frames() -> Iterator[Pixels]:
        for one in placed:
            n = round(one.scene.duration_seconds * FPS)
            yield from render(one.scene, SIDE, (np.arange(n) / FPS).tolist())

    n = sum(round(one.scene.duration_seconds * FPS) for one in placed)
    write_video(path, frames(), (np.arange(n) / FPS).tolist(), duration_seconds=n / FPS)


def judge(result: GroundingResult, one: Placed) -> tuple[float, bool]:
    """Overlap in time with the right moment, and whether the box is on the right object."""
    if result.start_seconds is None or result.end_seconds is None or not result.boxes:
        return 0.0, False
    assert one.scene.answer_range is not None
    start, end = (one.start_seconds + seconds for seconds in one.scene.answer_range)
    shared = max(0.0, min(end, result.end_seconds) - max(start, result.start_seconds))
    overlap = shared / (max(end, result.end_seconds) - min(start, result.start_seconds))
    boxes, _ = object_boxes(one.scene, one.scene.target)
    own = len(boxes) / one.scene.duration_seconds
    hits = []
    for box in result.boxes:
        i = int((box.time_seconds - one.start_seconds) * own)
        if start <= box.time_seconds < end and i < len(boxes):
            left, top, right, bottom = boxes[i].tolist()
            x, y = (box.xyxy[0] + box.xyxy[2]) / 2, (box.xyxy[1] + box.xyxy[3]) / 2
            hits.append(left <= x <= right and top <= y <= bottom)
    return overlap, bool(hits) and float(np.mean(hits)) > 0.5


def main() -> None:
    """Write the video, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--level", default="medium")
    parser.add_argument("--seed", type=int, default=70001)
    parser.add_argument("--passes", default="auto", choices=("1", "2", "auto"))
    parser.add_argument("--max-windows", type=int)
    parser.add_argument("--out", type=Path, help="keep the video here, or take the one that is")
    args = parser.parse_args()
    placed, questions = composite(args.level, args.seed, args.seconds, args.questions)
    with tempfile.TemporaryDirectory() as folder:
        path = args.out or Path(folder) / "composite.mp4"
        if not path.exists():
            write_composite(placed, path)
        seconds = placed[-1].start_seconds + placed[-1].scene.duration_seconds
        passes = int(args.passes) if args.passes != "auto" else "auto"
        pipeline = STVGPipeline.from_pretrained(BUNDLED / "tiny")
        started = time.process_time()
        with pipeline.open(path, passes=passes, max_windows=args.max_windows) as clip:
            tracked = time.process_time()
            results = clip.ground([one.scene.query for one in questions])
            answered = time.process_time()
    rows = [judge(result, one) for result, one in zip(results, questions, strict=True)]
    for one, result, (overlap, right) in zip(questions, results, rows, strict=True):
        print(f"{one.scene.query:<40} {result!r:.90}  tIoU {overlap:.2f} right object {right}")
    found = [overlap >= FOUND_TIOU and right for overlap, right in rows]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{seconds:.0f} s, {len(clip.tracks)} objects, passes {args.passes}: right moment and "
        f"object in {np.mean(found):.2f} of {len(found)}, answered at all "
        f"{np.mean([r.found for r in results]):.2f}; processor seconds: tracking "
        f"{tracked - started:.0f}, all looks {answered - tracked:.0f}; peak {memory:.2f} GiB"
    )


if __name__ == "__main__":
    main()
