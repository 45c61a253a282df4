"""Tracking quality and speed on a video with MOTChallenge ground truth.

    python -m benchmarks.bench_tracking VIDEO GT.txt [--class-name person] [--threads 2]

Decodes, detects and tracks the frames that the ground truth covers, twice over the same
detections: our tracker, and plain ByteTrack with default settings. Prints MOTA, IDF1, HOTA
(fractions; `trackers.eval`), ID switches, and milliseconds per video frame. Ground truth is one
`frame (1-based), id, left, top, width, height, consider, ...` a line. Boxes with consider = 0
(badly visible people) count like the others in the first table; in the second they are left out
together with the tracked boxes on them, which is the rule of MOTChallenge.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.structures import Detections, Tracks, VideoInfo
from stvg_r1_hub.tracking.association import DetectionTracker
from stvg_r1_hub.tracking.detectors import COCO_FOLDER, OnnxDetector
from stvg_r1_hub.video import open_video

Rows = dict[int, list[tuple[int, list[float]]]]
"""0-based frame -> (id, xyxy)."""
BYTETRACK_THRESHOLD = 0.35


class Recorder:
    """A detector that keeps what it returned, so that both trackers see the same boxes."""

    def __init__(self, detector: OnnxDetector) -> None:
        self.class_names = detector.class_names
        self.kept: list[Detections] = []
        self.seconds = 0.0
        self._detector = detector

    def detect(self, frames):
        begin = time.perf_counter()
        found = self._detector.detect(frames)
        self.seconds += time.perf_counter() - begin
        self.kept += found
        return found


def read_ground_truth(path: Path) -> tuple[Rows, Rows]:
    """The boxes to find, and those that MOTChallenge ignores."""
    rows: Rows = {}
    ignored: Rows = {}
    for line in path.read_text().splitlines():
        if not line.strip():
            continue
        values = line.split(",")
        left, top, width, height = (float(v) for v in values[2:6])
        kind = ignored if len(values) > 6 and float(values[6]) == 0 else rows
        # MOTChallenge pixels are 1-based.
        box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        kind.setdefault(int(values[0]) - 1, []).append((int(values[1]), box))
    return rows, ignored


def merged(a: Rows, b: Rows) -> Rows:
    return {f: [*a.get(f, []), *b.get(f, [])] for f in sorted({*a, *b})}


def without_ignored(tracked: Rows, truth: Rows, ignored: Rows) -> Rows:
    """Tracked boxes less those whose best partner (IoU >= 0.5) is an ignored one."""
    from scipy.optimize import linear_sum_assignment

    left = dict(tracked)
    for frame, unwanted in ignored.items():
        every = [*truth.get(frame, []), *unwanted]
        own = tracked.get(frame, [])
        if not own:
            continue
        overlap = box_iou([b for _, b in every], [b for _, b in own])
        drop = {
            int(column)
            for row, column in zip(*linear_sum_assignment(-overlap), strict=True)
            if row >= len(every) - len(unwanted) and overlap[row, column] >= 0.5
        }
        left[frame] = [item for i, item in enumerate(own) if i not in drop]
    return left


def rows_of(tracks: Tracks, class_name: str) -> Rows:
    rows: Rows = {}
    for track in tracks.tracks:
        if track.class_name == class_name:
            for frame, box in zip(track.frame_indices.tolist(), track.boxes.tolist(), strict=True):
                rows.setdefault(frame, []).append((track.object_id, box))
    return rows


def plain_bytetrack(found: list[Detections], frames: list[int], class_id: int, fps: float) -> Rows:
    import supervision
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(frame_rate=fps)
    rows: Rows = {}
    for frame, seen in zip(frames, found, strict=True):
        keep = (seen.class_ids == class_id) & (seen.scores >= BYTETRACK_THRESHOLD)
        result = tracker.update(
            supervision.Detections(
                xyxy=seen.boxes[keep].astype(float),
                confidence=seen.scores[keep].astype(float),
                class_id=seen.class_ids[keep],
            )
        )
        for box, number in zip(result.xyxy.tolist(), result.tracker_id, strict=True):
            if number >= 0:
                rows.setdefault(frame, []).append((int(number) + 1, box))
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
        box_iou([b for _, b in truth[f]], np.reshape([b for _, b in tracked.get(f, [])], (-1, 4)))
        for f in frames
    ]
    clear = compute_clear_metrics(true_ids, our_ids, similarity)
    identity = compute_identity_metrics(true_ids, our_ids, similarity)
    hota = compute_hota_metrics(true_ids, our_ids, similarity)
    return {
        "MOTA": clear["MOTA"],
        "IDF1": identity["IDF1"],
        "HOTA": float(np.mean(hota["HOTA"])),
        "switches": clear["IDSW"],
        "recall": clear["CLR_Re"],
        "precision": clear["CLR_Pr"],
        "IDs": len({i for f in frames for i, _ in tracked.get(f, [])}),
    }


def dense_ids(ids: Iterable[list[int]]) -> list[np.ndarray]:
    ids = list(ids)
    known = sorted({i for frame in ids for i in frame})
    return [np.array([known.index(i) for i in frame], dtype=int) for frame in ids]


def first_frames(info: VideoInfo, n_frames: int) -> VideoInfo:
    """The beginning of a video that the ground truth covers."""
    n = min(n_frames, info.n_frames)
    end = info.frame_times[n] if n < info.n_frames else info.duration_seconds
    return VideoInfo(info.name, info.width, info.height, info.frame_times[:n], float(end))


def show(title: str, results: dict[str, dict[str, float]]) -> None:
    print(f"{title:20s}" + "".join(f"{name:>10s}" for name in next(iter(results.values()))))
    for name, values in results.items():
        cells = (f"{v:10.3f}" if isinstance(v, float) else f"{v:10d}" for v in values.values())
        print(f"  {name:18s}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("--class-name", default="person")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fps", type=float, default=10.0, help="detected frames per second")
    options = parser.parse_args()
    judged, ignored = read_ground_truth(options.ground_truth)
    truth = merged(judged, ignored)
    detector = Recorder(OnnxDetector(COCO_FOLDER, threads=options.threads))
    tracker = DetectionTracker(detector, TrackingConfig(fps=options.fps), name="coco")
    source = open_video(options.video)
    info = first_frames(source.info, max(truth) + 1)
    wanted = list(tracker.frames_wanted(info))
    import trackers  # noqa: F401  # its import takes seconds and is no part of a frame's cost

    begin = time.perf_counter()
    session = tracker.start(info)
    for frame in source.stream(wanted):
        session.update(frame)
    tracks = session.finish()
    seconds = time.perf_counter() - begin
    class_id = detector.class_names.index(options.class_name)
    rate = 1 / float(np.median(np.diff(info.frame_times[wanted])))
    both = {
        "ours": rows_of(tracks, options.class_name),
        "plain ByteTrack": plain_bytetrack(detector.kept, wanted, class_id, rate),
    }
    print(f"{info}, {len(wanted)} frames detected, {len(truth)} with ground truth")
    show("every annotated box", {name: score(truth, rows) for name, rows in both.items()})
    if ignored:
        rule = {n: score(judged, without_ignored(r, judged, ignored)) for n, r in both.items()}
        show("MOTChallenge rule", rule)
    per_frame = 1000 / info.n_frames
    print(
        f"{seconds * per_frame:.1f} ms per video frame with {options.threads} threads "
        f"(detection {detector.seconds * per_frame:.1f} ms)"
    )


if __name__ == "__main__":
    main()
