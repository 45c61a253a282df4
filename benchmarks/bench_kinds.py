"""What the reader makes of sprite clips: kinds, colours and sizes; and the guard of the classes.

    python -m benchmarks.bench_kinds --level easy --seed 11 --n 50

Each rendered clip of a fresh seed is tracked once by the bundled model and asked for: every kind
that is there once ("the KIND"), a kind that is not there, every tinted object that its tint and
kind name alone, and the big and the small one of two of a kind. A right object is the track that
overlaps the true boxes most. The last rows are the clip's own question, which is one of sight: how
often the answered object is right where its class is the one asked for, and where it is another.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.evaluation.metrics import best_track
from stvg_r1_hub.sprites import clips
from stvg_r1_hub.sprites.motion import SceneObject
from stvg_r1_hub.sprites.question import BIGGER
from stvg_r1_hub.sprites.scene import KINDS, Scene
from stvg_r1_hub.structures import Tracks

MATCHED = 0.3
SEEN_SHARE = 0.5
"""An object is asked about that is in view for this share of the clip."""


def questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str, SceneObject | None]]:
    """Row of the table, query, and the object that is meant; None where nothing is."""
    seen = [o for o in scene.objects if clips.object_boxes(scene, o)[1].mean() >= SEEN_SHARE]
    asked: list[tuple[str, str, SceneObject | None]] = []
    for thing in seen:
        kin = [o for o in scene.objects if o.kind == thing.kind]
        if len(kin) == 1:
            asked.append(("the KIND", f"the {thing.kind}", thing))
        if thing.tint and sum(o.tint == thing.tint for o in kin) == 1:
            asked.append(("the COLOUR KIND", f"the {thing.tint} {thing.kind}", thing))
        others = [o.size for o in kin if o is not thing]
        if others and thing.size >= BIGGER * max(others):
            asked.append(("the big KIND", f"the big {thing.kind}", thing))
        if others and thing.size * BIGGER <= min(others):
            asked.append(("the small KIND", f"the small {thing.kind}", thing))
    there = {o.kind for o in scene.objects}
    absent = rng.choice([kind for kind in KINDS if kind not in there])
    asked.append(("a kind that is not there", f"the {absent}", None))
    return asked


def track_of(tracks: Tracks, scene: Scene, thing: SceneObject) -> int | None:
    """The track that overlaps an object's true boxes most."""
    boxes, in_view = clips.object_boxes(scene, thing)
    frames = np.flatnonzero(in_view)
    return best_track(tracks, frames, boxes[frames], minimum_iou=MATCHED)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--level", default="easy")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--sight", action="store_true", help="ask the clips' own questions too")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is wrong")
    args = parser.parse_args()
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu")
    rows: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for number in tqdm(range(args.n), desc="clips"):
            scene = clips.clip_scene(args.level, args.seed, number)
            clips.write_clip(scene, path)
            asked = questions(scene, np.random.default_rng([args.seed, number]))
            with pipeline.open(path) as clip:
                results = clip.ground([query for _, query, _ in asked])
                if args.sight and len(clip.tracks):
                    (result,) = clip.ground([scene.query])
                    # As the model said it, before the guard.
                    said = result.answer.object_ids if result.answer else ()
                    answered = [track for i in said if (track := clip.tracks.get(i))]
                    right = (
                        scene.target_id is not None
                        and bool(answered)
                        and (answered[0].object_id == track_of(clip.tracks, scene, scene.target))
                    )
                    for track in answered:
                        same = "asked" if track.class_name == scene.question.kind else "other"
                        rows[f"answer of sight, class as {same}"].append(right)
            for (row, query, thing), result in zip(asked, results, strict=True):
                if thing is None:
                    right = not result.found
                else:
                    right = result.object_ids == (track_of(clip.tracks, scene, thing),)
                rows[row].append(right)
                if args.verbose and not right:
                    print(
                        number,
                        query,
                        result.object_ids,
                        result.warnings[-1:],
                        *result.notes,
                        sep="\n  ",
                    )
    print(f"| level {args.level}, seed {args.seed}, {args.n} clips | right | asked |")
    print("|---|---|---|")
    for row, right in sorted(rows.items()):
        print(f"| {row} | {np.mean(right):.3f} | {len(right)} |")


if __name__ == "__main__":
    main()
