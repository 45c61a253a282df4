"""Time to draw one number: `python -m benchmarks.bench_marking` prints a table.

Wanted: at most 1 ms per object and frame at 720p.
"""

import argparse
import time

import numpy as np

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.marking import mark_frames
from stvg_r1_hub.structures import Frames, Track, Tracks

SAMPLES, OBJECTS, REPEATS = 8, 10, 5
SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}


def make_tracks(width, height, with_masks):
    """Ten objects of about a fifth of the frame's side, as ellipses with ragged edges."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:height, :width]
    tracks = []
    for object_id in range(1, OBJECTS + 1):
        boxes, masks = [], []
        for _ in range(SAMPLES):
            radius = height / 8
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            boxes.append((x - radius, y - radius, x + radius, y + radius))
            distance = np.hypot(xs - x, ys - y) + rng.normal(0, 1.5, (height, width))
            masks.append(encode_mask(distance < radius) if with_masks else None)
        tracks.append(
            Track(
                object_id,
                "thing",
                1.0,
                np.arange(SAMPLES),
                np.array(boxes, dtype=np.float32),
                np.zeros(SAMPLES, dtype=bool),
                tuple(masks) if with_masks else None,
            )
        )
    return Tracks(width, height, np.arange(SAMPLES) / 2, tuple(tracks))


def main():
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print(f"mark_frames, {SAMPLES} frames x {OBJECTS} objects, best of {REPEATS}")
    print(f"{'size':6} {'objects':8} {'ms per frame':>13} {'ms per object and frame':>24}")
    for name, (width, height) in SIZES.items():
        pixels = np.zeros((SAMPLES, height, width, 3), dtype=np.uint8)
        frames = Frames(pixels, np.arange(SAMPLES), np.arange(SAMPLES) / 2, 2.0, 196, 364)
        for with_masks in (False, True):
            tracks = make_tracks(width, height, with_masks)
            mark_frames(frames, tracks, MarkerStyle())
            times = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                mark_frames(frames, tracks, MarkerStyle())
                times.append(time.perf_counter() - start)
            per_frame = min(times) / SAMPLES * 1e3
            kind = "masks" if with_masks else "boxes"
            print(f"{name:6} {kind:8} {per_frame:13.2f} {per_frame / OBJECTS:24.3f}")


if __name__ == "__main__":
    main()
