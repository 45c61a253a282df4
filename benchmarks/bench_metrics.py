"""Processor seconds to score many tubes and masks, beside a loop over frames.

    python -m benchmarks.bench_metrics [--samples 10000] [--frames 300]

The loops are run on every 50th sample and multiplied, the arrays on all.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from stvg_r1_hub.evaluation.mask_metrics import region_similarity
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.protocols import PROTOCOLS
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.geometry import decode_mask, encode_mask

SHARE = 50
SIDE = (720, 1280)


def sample_and_prediction(rng, number, n_frames):
    """A tube of about `n_frames` frames and an answer that is nearly right."""
    first = int(rng.integers(0, 200))
    total = first + n_frames + 200
    centers = np.cumsum(rng.normal(0, 2, (total, 2)), axis=0) + 300
    boxes = np.concatenate([centers - 40, centers + 40], axis=1)
    frames = np.arange(first, first + n_frames)
    times = np.arange(total) / 25
    sample = AnnotatedSample(
        str(number), "video.mp4", "query", first / 25, (first + n_frames) / 25, frames,
        boxes[frames], fps=25.0, n_frames=total,
    )  # fmt: skip
    shift = int(rng.integers(-60, 60))
    start = max(0, first + shift) / 25
    prediction = Prediction(
        f"<answer>Target ID: 1, Time range: {start:.2f} to {start + n_frames / 25:.2f}</answer>",
        start, start + n_frames / 25, (1,), frame_times=times,
        frame_indices=np.arange(total), boxes=boxes + rng.normal(0, 4, boxes.shape),
    )  # fmt: skip
    return sample, prediction


def loop_viou(sample, prediction):
    """vIoU one frame at a time, as most evaluation scripts do it."""
    truth = {int(f): box for f, box in zip(sample.frame_indices, sample.boxes, strict=True)}
    first, stop = prediction.frame_range
    predicted = {f: prediction.boxes[f] for f in range(first, min(stop, len(prediction.boxes)))}
    total = 0.0
    for frame in truth:
        if frame in predicted:
            a, b = predicted[frame], truth[frame]
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            inner = max(0, width) * max(0, height)
            areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            total += inner / (areas - inner)
    return total / len(set(truth) | set(range(first, stop)))


def timed(work):
    """Processor seconds a call takes (others may use the machine too), and what it returns."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    distinct = min(options.samples, 500)  # drawn again and again: drawing is not measured
    drawn = [sample_and_prediction(rng, i, options.frames) for i in range(distinct)]
    pairs = [drawn[i % distinct] for i in range(options.samples)]
    few = pairs[::SHARE]

    strict = PROTOCOLS["strict"].score
    ours, scores = timed(lambda: [strict(*pair)["viou"] for pair in pairs])
    loop, expected = timed(lambda: [loop_viou(*pair) for pair in few])
    assert np.allclose(scores[::SHARE], expected), "both ways must give the same"
    every = {
        name: timed(lambda p=p: [p.score(*pair) for pair in few])[0] * SHARE
        for name, p in PROTOCOLS.items()
        if "tube" in p.tasks and name != "stvg-r1"
    }
    print(f"{options.samples} tubes of {options.frames} frames")
    print(f"  tIoU, vIoU, gt_vIoU (strict), arrays   {ours:8.2f} s")
    print(f"  vIoU alone, loop over frames           {loop * SHARE:8.2f} s")
    print(f"  ratio                                  {loop * SHARE / ours:8.1f}")
    for name, seconds in every.items():
        print(f"  {name:<38} {seconds:8.2f} s")

    y, x = np.ogrid[: SIDE[0], : SIDE[1]]
    disks = [(y - 360) ** 2 + (x - 500 - 10 * i) ** 2 < 150**2 for i in range(20)]
    runs = [encode_mask(disk) for disk in disks]
    mask_pairs = [(runs[i % 20], runs[(i + 1) % 20]) for i in range(500)]

    def decoded(a, b):
        first, second = decode_mask(a), decode_mask(b)
        return (first & second).sum() / (first | second).sum()

    ours, scores = timed(lambda: [region_similarity(*pair) for pair in mask_pairs])
    slow, expected = timed(lambda: [decoded(*pair) for pair in mask_pairs[::10]])
    assert np.allclose(scores[::10], expected), "both ways must give the same"
    print("J of 500 pairs of 1280x720 masks")
    print(f"  from their runs                        {ours:8.3f} s")
    print(f"  decoded                                {slow * 10:8.3f} s")
    print(f"  ratio                                  {slow * 10 / ours:8.1f}")


if __name__ == "__main__":
    main()
