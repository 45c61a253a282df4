"""Linkers compared on the same detections: ours, and those of the package `trackers`.

    python -m benchmarks.bench_tracking [VIDEO GT.txt] [--fps 10 2] [--streets 3]

The frames that a tracker would ask for at each rate are detected once; every linker gets these
boxes, and what it links is finished alike (short and double objects dropped, boxes smoothed and
filled in between). Prints HOTA, IDF1 and MOTA (fractions, on native frames; `trackers.eval`), ID
switches, and processor milliseconds a detected frame for describing and linking.

Clips: rendered streets (`moving_street.py`), sprite clips of the hard level, and a video with
MOTChallenge ground truth, one `frame (1-based), id, left, top, width, height, ...` a line, of
people. Our constants were chosen on PETS09-S2L1, at 10 frames a second; no clip set the others'.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.moving_street import EVENTS, FPS, SIDE, Rows, street
from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.sprites.clips import SIDE as SPRITE_SIDE
from stvg_r1_hub.sprites.clips import clip_scene, frame_times, true_tracks
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.structures import Detections, TimedFrame, Tracks, VideoInfo
from stvg_r1_hub.tracking import DetectionTracker, OnnxDetector
from stvg_r1_hub.tracking.association import DetectionSession, Sighting, link
from stvg_r1_hub.tracking.onnx_detector import COCO_FOLDER
from stvg_r1_hub.tracking.stitching import Tracklet
from stvg_r1_hub.video import open_video

SPRITE_SEED = 4021
THREADS = 2


@dataclass(frozen=True)
class Clip:
    """A video with the truth about it."""

    name: str
    info: VideoInfo
    frames: list[np.ndarray]
    truth: Rows
    detector: Path
    class_name: str | None = None
    """What the truth is about; None is everything."""


class Recorded:
    """A detector that looks at every frame once, whoever asks."""

    def __init__(self, folder: Path) -> None:
        self._detector = OnnxDetector(folder, threads=THREADS)
        self.class_names = self._detector.class_names
        self._found: dict[int, Detections] = {}

    def detect(self, frames: Sequence[np.ndarray]) -> list[Detections]:
        for frame in frames:
            if id(frame) not in self._found:
                (self._found[id(frame)],) = self._detector.detect([frame])
        return [self._found[id(frame)] for frame in frames]


class LibraryTracker(DetectionTracker):
    """Ours with the linker of a library; `linker(rate, sure score)` makes one for a scene."""

    def __init__(self, detector: Any, config: TrackingConfig, linker: Callable[..., Any]) -> None:
        super().__init__(detector, config, name="library")
        self.linker = linker

    def start(self, info: VideoInfo, query: Any = None) -> LibrarySession:
        return LibrarySession(self, info)


class LibrarySession(DetectionSession):
    """Every scene and group of classes is linked by a tracker of its own, frame by frame."""

    def __init__(self, tracker: LibraryTracker, info: VideoInfo) -> None:
        super().__init__(tracker, info)
        self._linker = tracker.linker
        self._pixels: dict[float, np.ndarray] = {}

    def update(self, frame: TimedFrame) -> None:
        self._pixels[frame.time_seconds] = frame.pixels
        super().update(frame)

    def _objects(self, own: list[Sighting], step: float) -> list[Tracklet]:
        sure = self._tracker.sure_score
        linker = self._linker(1 / step, sure)
        if getattr(linker, "cmc", None):
            without = linker.update
            linker.update = lambda found, timestamp: without(
                found, frame=self._pixels[timestamp], timestamp=timestamp
            )
        return link(own, linker, sure)


def linkers() -> dict[str, Callable[..., Any]]:
    """Of the library, each as it comes and with four seconds of patience like ours."""
    from trackers import BoTSORTTracker, ByteTrackTracker, CBIoUTracker, OCSORTTracker

    kinds = {
        "ByteTrack": ByteTrackTracker,
        "OC-SORT": OCSORTTracker,
        "BoT-SORT": BoTSORTTracker,
        "C-BIoU": CBIoUTracker,
    }
    return {
        f"{name}, {seconds} s": maker(kind, 30 * seconds)
        for name, kind in kinds.items()
        for seconds in (1, 4)
    }


def maker(kind: Any, buffer: int) -> Callable[[float, float], Any]:
    def make(rate: float, sure: float) -> Any:
        options: dict[str, Any] = {"lost_track_buffer": buffer, "frame_rate": rate}
        # The defaults are for detectors whose scores lie higher than those of the bundled ones.
        options |= {"high_conf_det_threshold": sure, "minimum_consecutive_frames": 1}
        if kind.__name__ != "OCSORTTracker":
            options["track_activation_threshold"] = sure
        return kind(**options)

    return make


def tracked(tracker: DetectionTracker, clip: Clip) -> tuple[Tracks, float]:
    """The tracks, and processor milliseconds a detected frame without the detection."""
    wanted = tracker.frames_wanted(clip.info)
    frames = [TimedFrame(i, float(clip.info.frame_times[i]), clip.frames[i]) for i in wanted]
    tracker.detector.detect([frame.pixels for frame in frames])
    begin = time.process_time()
    session = tracker.start(clip.info)
    for frame in frames:
        session.update(frame)
    tracks = session.finish()
    return tracks, 1000 * (time.process_time() - begin) / len(frames)


def rows_of(tracks: Tracks, class_name: str | None) -> Rows:
    rows: Rows = {}
    for track in tracks.tracks:
        if class_name in (None, track.class_name):
            for frame, box in zip(track.frame_indices.tolist(), track.boxes.tolist(), strict=True):
                rows.setdefault(frame, []).append((track.object_id, box))
    return rows


def score(truth: Rows, tracked: Rows) -> dict[str, float]:
    from trackers.eval import (
        compute_clear_metrics,
        compute_hota_metrics,
        compute_identity_metrics,
    )

    frames = sorted(truth)
    true_ids = dense_ids([[i for i, _ in truth[f]] for f in frames])
    our_ids = dense_ids([[i for i, _ in tracked.get(f, [])] for f in frames])
    similarity = [
        box_iou(
            *(np.reshape([b for _, b in rows.get(f, [])], (-1, 4)) for rows in (truth, tracked))
        )
        for f in frames
    ]
    clear = compute_clear_metrics(true_ids, our_ids, similarity)
    identity = compute_identity_metrics(true_ids, our_ids, similarity)
    hota = compute_hota_metrics(true_ids, our_ids, similarity)
    return {
        "HOTA": float(np.mean(hota["HOTA"])),
        "IDF1": identity["IDF1"],
        "MOTA": clear["MOTA"],
        "switches": clear["IDSW"],
    }


def dense_ids(ids: list[list[int]]) -> list[np.ndarray]:
    known = {number: i for i, number in enumerate(sorted({n for frame in ids for n in frame}))}
    return [np.array([known[n] for n in frame], dtype=int) for frame in ids]


def clips(options: argparse.Namespace) -> Iterator[tuple[str, list[Clip]]]:
    """Kinds of footage, each with its clips."""
    sprites = BUNDLED / "tiny" / "detector"
    if options.video:
        yield "PETS09-S2L1", [real_clip(options.video, options.truth)]
    for event in EVENTS:
        rendered = []
        for seed in range(options.streets):
            frames, truth = street(event, seed)
            times = np.arange(len(frames)) / FPS
            info = VideoInfo(f"{event} {seed}", SIDE, SIDE, times, len(frames) / FPS)
            rendered.append(Clip(info.name, info, frames, truth, sprites))
        yield f"street, {event}", rendered
    hard = []
    for number in range(2 * options.streets):
        scene = clip_scene("hard", SPRITE_SEED, number)
        times = frame_times(scene)
        frames = list(render(scene, SPRITE_SIDE, times.tolist()))
        info = VideoInfo(f"hard {number}", SPRITE_SIDE, SPRITE_SIDE, times, len(times) / scene.fps)
        truth = {f: [] for f in range(len(times))} | rows_of(true_tracks(scene), None)
        hard.append(Clip(info.name, info, frames, truth, sprites))
    yield "sprites, hard", hard


def real_clip(video: Path, ground_truth: Path) -> Clip:
    truth: Rows = {}
    for line in ground_truth.read_text(encoding="utf-8").splitlines():
        frame, number, left, top, width, height = (float(v) for v in line.split(",")[:6])
        # MOTChallenge pixels are 1-based.
        box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        truth.setdefault(int(frame) - 1, []).append((int(number), box))
    n = max(truth) + 1
    with open_video(video) as source:
        frames = [frame.pixels for frame in source.stream(range(n))]
        whole = source.info
    info = VideoInfo(whole.name, whole.width, whole.height, whole.frame_times[:n], n / whole.fps)
    return Clip(whole.name, info, frames, truth, COCO_FOLDER, "person")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("truth", type=Path, nargs="?", help="needed with a video")
    parser.add_argument("--fps", type=float, nargs="+", default=[10.0, 2.0])
    parser.add_argument("--streets", type=int, default=3, help="clips of each event")
    options = parser.parse_args()
    library = linkers()
    print("| footage | fps | linker | HOTA | IDF1 | MOTA | switches | ms a frame |")
    print("|---|---|---|---|---|---|---|---|")
    for title, footage in clips(options):
        detectors = [Recorded(clip.detector) for clip in footage]
        for fps in options.fps:
            config = TrackingConfig(fps=fps)
            for name in ("ours", *library):
                rows = []
                for clip, detector in zip(footage, detectors, strict=True):
                    if name == "ours":
                        tracker = DetectionTracker(detector, config, name=name)
                    else:
                        tracker = LibraryTracker(detector, config, library[name])
                    tracks, cost = tracked(tracker, clip)
                    rows.append(
                        [*score(clip.truth, rows_of(tracks, clip.class_name)).values(), cost]
                    )
                hota, idf1, mota, switches, cost = np.mean(rows, axis=0)
                cells = f"{hota:.3f} | {idf1:.3f} | {mota:.3f} | {switches:.1f} | {cost:.1f}"
                print(f"| {title} | {fps:g} | {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
