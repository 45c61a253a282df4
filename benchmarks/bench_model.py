"""The language model's side: vision tower, many questions on one clip, SAM 2's frame-steps.

    python -m benchmarks.bench_model

Each line compares two ways in one run. On a CUDA device the vision tower has the 7B
checkpoint's size; on a CPU a quarter of its width and of its depth, at the official shape of a
20-second 16:9 clip (40 frames, 20 x 14 x 26 patches). Weights are random: only time is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.hub import BUNDLED
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.structures import Detections, TimedFrame, VideoInfo
from stvg_r1_hub.tracking import PaperTracker
from stvg_r1_hub.tracking.paper import KEY_FRAME_STEP
from stvg_r1_hub.vlm.packed_attention import grid_inputs, use_packed_attention
from stvg_r1_hub.vlm.reader import NotesReader

GRID = (20, 14, 26)
QUESTIONS = [
    f"the {thing} {action}"
    for thing in ("dog", "cat", "red car", "bird", "ball")
    for action in ("jumping", "walking to the left")
]


def seconds(work: Callable[[], Any], device: str, repeats: int) -> float:
    """Fewest seconds that `work` takes, the first call left out.

    On a CPU it is the processor time of this process, so that a busy machine counts little.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        started = clock()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(clock() - started)
    return min(times[1:])


def build_tower(device: str, share: int) -> Any:
    """The 7B checkpoint's vision tower with random weights, `share` times thinner and shallower."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VisionTransformerPretrainedModel,
    )

    depth, every = 32 // share, 8 if share == 1 else 4
    config = Qwen2_5_VLVisionConfig(
        depth=depth,
        hidden_size=1280 // share,
        intermediate_size=3420 // share,
        num_heads=16 // share,
        out_hidden_size=3584 // share,
        fullatt_block_indexes=list(range(every - 1, depth, every)),
    )
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with torch.device(device):
        tower: Any = Qwen2_5_VisionTransformerPretrainedModel._from_config(
            config, attn_implementation="sdpa", dtype=dtype
        )
    return tower.eval()


def compare_towers(
    tower: Any, grid: tuple[int, int, int], device: str, repeats: int
) -> tuple[float, float, float]:
    """Seconds of a clip as transformers runs a tower and as we do, and their largest difference."""
    patches = grid[0] * grid[1] * grid[2]
    pixels = torch.randn(patches, 3 * 2 * 14 * 14, device=device, dtype=tower.dtype)
    thw = torch.tensor([grid], device=device)
    with torch.inference_mode():
        stock = seconds(lambda: tower(pixels, grid_thw=thw), device, repeats)
        before = tower(pixels, grid_thw=thw).pooler_output
        use_packed_attention(tower)
        ready = grid_inputs(tower, grid)
        ours = seconds(lambda: tower(pixels, grid_thw=thw, **ready), device, repeats)
        after = tower(pixels, grid_thw=thw, **ready).pooler_output
    return stock, ours, (before - after).abs().max().item()


def bench_vision_tower(device: str, repeats: int) -> None:
    tower = build_tower(device, 1 if device == "cuda" else 4)
    stock, ours, difference = compare_towers(tower, GRID, device, repeats)
    config = tower.config
    print(
        f"vision tower, {config.depth} layers of {config.hidden_size}: stock sdpa {stock:.3f} s, "
        f"packed {ours:.3f} s, {stock / ours:.1f} times as fast, "
        f"largest difference {difference:.1e}"
    )


def bench_questions(device: str, repeats: int) -> None:
    """One question and ten to the bundled model about the demo clip, until the results are there.

    The text comes before the video, as in training, so prefill happens once a question; decoding,
    tracking and the vision tower once a clip.
    """
    pipeline = STVGPipeline.from_pretrained("tiny", device=device)
    clip = BUNDLED / "demo" / "clip.mp4"
    assert [r.raw_text for r in pipeline(QUESTIONS, clip)] == [
        pipeline(question, clip).raw_text for question in QUESTIONS
    ], "a batch answers as single questions do"
    assert isinstance(pipeline.vlm, NotesReader)
    with pipeline.open(clip) as opened:
        seen = dataclasses.replace(opened, vlm=pipeline.vlm.sight)  # Nothing is read from notes.
    prompts = [build_prompt(question, seen.prompt_id) for question in QUESTIONS]
    table = []
    for n in (1, len(QUESTIONS)):
        whole = seconds(lambda n=n: pipeline(QUESTIONS[:n], clip), device, repeats)
        alone = seconds(lambda n=n: dataclasses.replace(seen).ask(prompts[:n]), device, repeats)
        table.append((whole, alone))
    for name, one, ten in zip(
        ("from file to results", "language model alone"), *table, strict=True
    ):
        print(
            f"{len(QUESTIONS)} questions on one clip, {name}: {ten:.2f} s, one question "
            f"{one:.2f} s, {ten / one:.1f} times as long"
        )


class _LateObjects:
    """One more object at every key frame."""

    class_names = ("thing",)

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, frames: Any) -> list[Detections]:
        left = 20.0 * self.calls
        self.calls += 1
        box = np.array([[left, 10, left + 15, 40]], np.float32)
        return [Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))]


class _Boxes:
    """Stands for SAM 2 where only its steps are counted: an object stays where it started."""

    name = "boxes"

    def open(self, height: int, width: int, n_frames: int) -> _Boxes:
        self.frame_steps, self._size, self._found = 0, (height, width), {}
        return self

    def next_frame(self, pixels: Any) -> dict[int, Any]:
        self.frame_steps += len(self._found)
        return dict(self._found)

    def masks_of_boxes(self, boxes: Any) -> list[Any]:
        masks = []
        for left, top, right, bottom in np.asarray(boxes, int):
            masks.append(np.zeros(self._size, bool))
            masks[-1][top:bottom, left:right] = True
        return masks

    def add(self, object_id: int, *, mask: Any) -> Any:
        self.frame_steps += 1
        self._found[object_id] = mask
        return mask

    def drop(self, object_id: int) -> None:
        del self._found[object_id]


def count_frame_steps(n_frames: int = 300) -> tuple[int, int, int]:
    """Objects that appear one by one, SAM 2's steps for them in one pass, and with restarts."""
    segmenter = _Boxes()
    info = VideoInfo("late", 420, 60, np.arange(n_frames) / 30, n_frames / 30)
    blank = np.zeros((60, 420, 3), np.uint8)
    session = PaperTracker(_LateObjects(), segmenter, TrackingConfig()).start(info)
    for i in range(n_frames):
        session.update(TimedFrame(i, i / 30, blank))
    starts = [int(track.frame_indices[0]) for track in session.finish().tracks]
    restarts = sum((k + 1) * (n_frames - start) for k, start in enumerate(starts))
    return len(starts), segmenter.frame_steps, restarts


def bench_frame_steps() -> None:
    n_objects, steps, restarts = count_frame_steps()
    print(
        f"SAM 2, {n_objects} objects found one by one in 300 frames (every {KEY_FRAME_STEP}): "
        f"{steps} frame-steps in one pass, {restarts} with the official restarts, "
        f"{restarts / steps:.1f} times as many"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "processor time, one CPU thread"
    torch.set_num_threads(1)
    print(f"on {device} ({name})")
    bench_frame_steps()
    bench_questions(device, repeats)
    bench_vision_tower(device, repeats)


if __name__ == "__main__":
    main()
