"""The way without numbers: the model writes boxes as text. Kept to compare with, not to use.

The answer is the object's box at the start and at the end of the event, in percent of the frame:
`<answer>Box: 10 20 30 40 to 15 20 35 40, Time range: 1.00 to 2.50</answer>`; in between the box
moves evenly. That is far less text than a box a frame and all that most motions here need.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub import hub
from stvg_r1_hub.evaluation.metrics import temporal_iou, tube_iou
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.sprites.clips import (
    SIDE,
    check_request,
    clip_scene,
    frame_times,
    true_tube,
)
from stvg_r1_hub.sprites.render import render
from stvg_r1_hub.sprites.scene import Scene
from stvg_r1_hub.structures import MarkedFrames
from stvg_r1_hub.video import plan_sampling
from stvg_r1_hub.vlm.local import LocalVLM
from train.bundled.sizes import ModelSize, bundle_config
from train.data.samples import TrainingSample, as_frames
from train.miniature.sprite_questions import SpriteQuestions, chosen_scene, size_of
from train.rewards import GroundTruth

PROMPT_ID = "sprites-boxes-v1"
MOST_TOKENS = 64
_NUMBERS = r"(\d{1,3}) (\d{1,3}) (\d{1,3}) (\d{1,3})"
_ANSWER = re.compile(
    rf"Box: {_NUMBERS} to {_NUMBERS}, Time range: (\d+\.\d\d) to (\d+\.\d\d)</answer>"
)


class BoxQuestions(SpriteQuestions):
    """Sprite-world questions about clips without numbers, answered with boxes."""

    world = "sprite world without numbers"
    prompt_id = PROMPT_ID

    def __getitem__(self, index: int) -> TrainingSample:
        scene = chosen_scene(self.level, self.seed, index, nothing=False)
        assert scene.answer_range is not None
        start, end = scene.answer_range
        return TrainingSample(
            sample_id=self._name(index),
            query=scene.query,
            prompt=build_prompt(scene.query, PROMPT_ID),
            frames=plain_frames(scene, self.size),
            sample_fps=self.config.sampling.fps,
            truth=GroundTruth((scene.target_id or 1,), start, end, scene.duration_seconds),
            target=written_answer(scene),
        )


def plain_frames(scene: Scene, size: ModelSize) -> NDArray[np.uint8]:
    """The sample of a clip at the model's size, no numbers drawn."""
    count = len(frame_times(scene))
    plan = plan_sampling(count, scene.fps, size.side, size.side, bundle_config(size).sampling)
    times = (np.array(plan.frame_indices) / scene.fps).tolist()
    return np.stack(list(render(scene, size.side, times)))


def written_answer(scene: Scene) -> str:
    """What is right, as text."""
    assert scene.answer_range is not None
    boxes = list(true_tube(scene).values())
    ends = " to ".join(
        " ".join(f"{min(99, round(100 * float(v) / SIDE))}" for v in box)
        for box in (boxes[0], boxes[-1])
    )
    start, end = scene.answer_range
    return f"<think></think><answer>Box: {ends}, Time range: {start:.2f} to {end:.2f}</answer>"


def read_answer(text: str) -> tuple[NDArray[np.float64], float, float] | None:
    """First and last box `(2, 4)` xyxy as fractions of the frame, start, end; None: unreadable."""
    found = _ANSWER.search(text)
    if found is None:
        return None
    numbers = [int(value) / 100 for value in found.groups()[:8]]
    return np.array(numbers).reshape(2, 4), float(found[9]), float(found[10])


def score(scene: Scene, text: str) -> tuple[float, float]:
    """tIoU and vIoU of a written answer; 0 for one that cannot be read."""
    answer = read_answer(text)
    if answer is None or scene.answer_range is None:
        return 0.0, 0.0
    ends, start, end = answer
    times = frame_times(scene)
    predicted = {}
    for frame in frames_in_range(times, start, end):
        share = (times[frame] - start) / (end - start)  # never 0: such a range holds no frame
        predicted[frame] = ((1 - share) * ends[0] + share * ends[1]) * SIDE
    return temporal_iou((start, end), scene.answer_range), tube_iou(predicted, true_tube(scene))


def answer_with_boxes(model: Path, level: str, *, seed: int, n: int) -> dict[str, Any]:
    """Means over the answerable ones of `n` clips; there is no ID to be right.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    check_request(level, seed, n)
    config = hub.load_bundle(model).config
    size = size_of(config.sampling.max_pixels)
    vlm = LocalVLM.from_pretrained(model, config=config)
    scores = []
    for number in range(n):
        scene = clip_scene(level, seed, number)
        if scene.answer_range is None:
            continue
        frames = as_frames(plain_frames(scene, size), config.sampling.fps)
        video = vlm.encode(MarkedFrames(frames, (frozenset(),) * len(frames)))
        prompt = build_prompt(scene.query, PROMPT_ID)
        (text,) = vlm.generate([prompt], video, max_new_tokens=MOST_TOKENS)
        scores.append(score(scene, text))
    tious, vious = zip(*scores, strict=True) if scores else ((0.0,), (0.0,))
    means = {"m_tiou": float(np.mean(tious)), "m_viou": float(np.mean(vious))}
    return {"level": level, "seed": seed, "n": n, "id_accuracy": None, **means}
