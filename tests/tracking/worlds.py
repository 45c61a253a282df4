"""Videos of coloured rectangles whose identity is known, and a detector that sees exactly them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import encode_mask, paired_iou
from stvg_r1_hub.structures import RLE, Detections, Pixels, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking import Tracker

WIDTH, HEIGHT = 320, 240
Path = dict[int, tuple[float, float, float, float]]
"""Native frame -> xyxy of one object."""


def info_of(n_frames: int, fps: float = 10.0) -> VideoInfo:
    return VideoInfo("world", WIDTH, HEIGHT, np.arange(n_frames) / fps, n_frames / fps)


def moving(
    frames: Sequence[int],
    start: tuple[float, float],
    speed: tuple[float, float],
    size: tuple[float, float] = (30, 60),
) -> Path:
    """A box whose left top corner is at `start` in frame 0."""
    return {
        f: (
            start[0] + speed[0] * f,
            start[1] + speed[1] * f,
            start[0] + speed[0] * f + size[0],
            start[1] + speed[1] * f + size[1],
        )
        for f in frames
    }


class World:
    """Objects by colour; it is both the video and the detector, which finds boxes by frame.

    The number of the frame is written into the first pixel, so that `detect` needs nothing else.
    """

    class_names = ("person", "dog", "kite")

    def __init__(
        self,
        objects: Mapping[tuple[int, int, int], Path],
        *,
        noise: float = 0.0,
        classes: Mapping[tuple[int, int, int], int] | None = None,
        scores: Mapping[tuple[int, int, int], float] | None = None,
        backgrounds: Mapping[int, int] | None = None,
    ) -> None:
        self.objects = objects
        self.classes = classes or {}
        self.scores = scores or {}
        self.backgrounds = backgrounds or {0: 128}
        self.noise = noise

    def picture(self, frame: int) -> Pixels:
        shade = [v for f, v in sorted(self.backgrounds.items()) if f <= frame][-1]
        pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
        for color, path in self.objects.items():
            if frame in path:
                left, top, right, bottom = (max(0, round(v)) for v in path[frame])
                pixels[top:bottom, left:right] = color
        pixels[0, 0] = (frame // 256, frame % 256, 0)
        return pixels

    def stream(self, frames: Sequence[int], info: VideoInfo) -> Iterator[TimedFrame]:
        for f in frames:
            yield TimedFrame(f, float(info.frame_times[f]), self.picture(f))

    def detect(self, frames: Sequence[Pixels]) -> list[Detections]:
        return [self._detect(int(p[0, 0, 0]) * 256 + int(p[0, 0, 1])) for p in frames]

    def _detect(self, frame: int) -> Detections:
        rng = np.random.default_rng(frame)
        rows = [
            (np.array(path[frame]) + rng.normal(0, self.noise, 4), color)
            for color, path in self.objects.items()
            if frame in path
        ]
        boxes = np.array([box for box, _ in rows], dtype=np.float32).reshape(-1, 4)
        return Detections(
            boxes=np.clip(boxes, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32),
            scores=np.array([self.scores.get(c, 0.9) for _, c in rows], dtype=np.float32),
            class_ids=np.array([self.classes.get(c, 0) for _, c in rows], dtype=np.int64),
        )


def tracked(
    tracker: Tracker, stream: Iterable[TimedFrame], info: VideoInfo, query: str | None = None
) -> Tracks:
    """What a tracker makes of a stream of frames."""
    session = tracker.start(info, query)
    for frame in stream:
        session.update(frame)
    return session.finish()


def ids_along(tracks: Tracks, path: Path) -> list[int]:
    """IDs that lie best (IoU > 0.6) on an object in more than two frames, in order."""
    best: list[int] = []
    for frame, box in path.items():
        rivals = [
            (t.object_id, other) for t in tracks.tracks if (other := t.box_at(frame)) is not None
        ]
        overlap = [float(paired_iou([box], [other])[0]) for _, other in rivals]
        if overlap and max(overlap) > 0.6:
            best.append(rivals[int(np.argmax(overlap))][0])
    return [i for i in dict.fromkeys(best) if best.count(i) > 2]


def arrays(tracks: Tracks) -> list[NDArray[np.float32]]:
    return [t.boxes for t in tracks.tracks]


def save_official(tracks: Tracks, folder: pathlib.Path) -> None:
    """Write one official `mask_<i>.json` for every native frame.

    An object without a mask is written as its filled box, rounded to whole pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(len(tracks.frame_times)):
        objects = {}
        for track in tracks.tracks:
            position = track.position(frame)
            if position is None:
                continue
            mask = None if track.masks is None else track.masks[position]
            objects[str(track.object_id)] = {
                "rle": mask or _filled_box(track.boxes[position], tracks.width, tracks.height),
                "class_name": track.class_name,
                "box": None,
            }
        values = {"height": tracks.height, "width": tracks.width, "objects": objects}
        (folder / f"mask_{frame}.json").write_text(json.dumps(values), encoding="utf-8")


def _filled_box(box: NDArray[np.float32], width: int, height: int) -> RLE:
    left, top, right, bottom = np.round(box).astype(int).tolist()
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    mask = np.zeros((height, width), dtype=bool)
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return encode_mask(mask)
