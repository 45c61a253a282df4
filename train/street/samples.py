"""Street scenes as training samples, with the numbers where a tracker would put them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.evaluation.sprites.motion import ACTIONS
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.video import plan_sampling
from train.dialogue import ASKED, NOTHING, Dialogue
from train.sizes import FACTOR, HINTS_PROMPT, SMALL, ModelSize, bundle_config
from train.sprite_samples import IGNORED, Sample, draw_enlargement, numbered, with_noise
from train.street.render import street_frames
from train.street.words import MOTIONS, RESTS
from train.street.world import StreetScene, Walker, asked_segments, sample_street

PICTURES = ((768, 576), (1280, 720), (640, 640), (720, 1280))
"""Width and height of the videos that clips pretend to come from."""
_PICTURE_SHARES = (0.4, 0.35, 0.15, 0.1)
_FRAME_RATES = (10, 12, 15, 24, 25, 30)


def draw_picture(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a video."""
    return PICTURES[int(rng.choice(len(PICTURES), p=_PICTURE_SHARES))]


def draw_street_sample(
    seed: tuple[int, ...],
    *,
    duration_seconds: float,
    picture: tuple[int, int],
    size: ModelSize = SMALL,
) -> Sample:
    """Render one training sample; the same arguments give the same sample."""
    scene = sample_street(seed, duration_seconds=duration_seconds)
    rng = np.random.default_rng([*seed, 9])
    seconds, height, width = _plan(rng, scene, picture, size)
    frames, boxes = street_frames(scene, height, width, seconds)
    tracked = {w: _tracked(rng, w, boxes[w], seconds, height, width) for w in scene.tracked}
    enlargement = draw_enlargement(rng)
    marked = []
    for t, frame in enumerate(frames):
        seen = {w.number: box[t] for w, (box, there) in tracked.items() if there[t]}
        marked.append(numbered(frame, seen, size.marker, enlargement))
    pixels = with_noise(np.stack(marked), rng)
    labels = _token_labels(scene, boxes, seconds, height, width)
    return Sample(pixels, labels, street_dialogue(scene, (len(seconds) // 2, height, width)))


def draw_street_dialogue(seed: tuple[int, ...], size: ModelSize = SMALL) -> Dialogue:
    """A question about a scene that is never rendered, to practise reading hints and listing."""
    scene = sample_street(seed)
    rng = np.random.default_rng([*seed, 9])
    seconds, height, width = _plan(rng, scene, draw_picture(rng), size)
    return street_dialogue(scene, (len(seconds) // 2, height, width))


def street_dialogue(scene: StreetScene, shape: tuple[int, int, int]) -> Dialogue:
    """The scene's question with hints, and the answer that is taught.

    The reasoning names what is asked for, then goes through the numbers: the noun, and for the
    asked noun what it does when; `(asked)` stands where noun or motion is what the query says.

    Args:
        scene: what happens.
        shape: temporal steps, and height and width of the frames in pixels.
    """
    answer = _Said("<think>")
    answer.add(f" {scene.noun}{ASKED} {scene.motion}{ASKED}.")
    for walker in scene.tracked:
        answer.add(f" {walker.number} {walker.noun}")
        if walker.noun != scene.noun:
            answer.add(".")
            continue
        # The number stands right before the motion too: what is seen is looked up by the number,
        # and from behind a noun of many tokens that was hardly learned.
        answer.add(f"{ASKED} {walker.number}")
        meant = asked_segments(walker, scene.noun, scene.motion)
        for i, segment in enumerate(walker.segments):
            span = f" {segment.start_seconds:.2f} to {segment.end_seconds:.2f}"
            answer.see(f"{',' if i else ''} {segment.motion}")
            answer.add(ASKED if segment in meant else "")
            answer.see(span)
        answer.see(".")
    answer.add("</think><answer>")
    if scene.target is None or scene.answer_range is None:
        answer.add(f"Target ID: {NOTHING}")
    else:
        start, end = scene.answer_range
        answer.add(f"Target ID: {scene.target.number}, Time range: {start:.2f} to {end:.2f}")
    answer.add("</answer>")
    steps, height, width = shape
    return Dialogue(
        build_prompt(scene.query, HINTS_PROMPT, objects=scene.hints),
        answer.text,
        steps,
        grid_size=(height // FACTOR, width // FACTOR),
        seen=tuple(answer.seen),
    )


class _Said:
    """A text that grows, and which parts of it only the clip can tell."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.seen: list[tuple[int, int]] = []

    def add(self, text: str) -> None:
        self.text += text

    def see(self, text: str) -> None:
        self.seen.append((len(self.text), len(self.text) + len(text)))
        self.text += text


def _plan(
    rng: np.random.Generator, scene: StreetScene, picture: tuple[int, int], size: ModelSize
) -> tuple[NDArray[np.float64], int, int]:
    """Times of the sampled frames, their height and width."""
    fps = float(rng.choice(_FRAME_RATES))
    n_frames = round(scene.duration_seconds * fps)
    plan = plan_sampling(n_frames, fps, *picture, bundle_config(size).sampling)
    return np.array(plan.frame_indices) / fps, plan.model_height, plan.model_width


def _tracked(
    rng: np.random.Generator,
    walker: Walker,
    boxes: NDArray[np.float64],
    seconds: NDArray[np.float64],
    height: int,
    width: int,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Boxes as a detector gives them, off by a few percent and lost now and then, and where."""
    extent = (boxes[:, 2:] - boxes[:, :2]).mean(1, keepdims=True)
    slow = rng.normal(0, 0.06, 2) * np.sin(seconds[:, None] * rng.uniform(0.3, 2.0, 2))
    shift = (rng.normal(0, 0.03, (len(seconds), 2)) + slow) * extent
    clipped = np.clip(boxes + np.tile(shift, 2), 0, [width, height] * 2)
    there = (seconds >= walker.start_seconds - 1e-6) & (seconds < walker.end_seconds)
    inside = (clipped[:, 2:] - clipped[:, :2]).min(1) >= 1
    return clipped, there & inside & (rng.random(len(seconds)) > 0.02)


def _token_labels(
    scene: StreetScene,
    boxes: dict[Walker, NDArray[np.float64]],
    seconds: NDArray[np.float64],
    height: int,
    width: int,
) -> NDArray[np.int64]:
    """`(T / 2, tokens, 3)` as in `Sample`: no kind, drawn number, and motion in progress."""
    rows, columns = height // FACTOR, width // FACTOR
    times = seconds.reshape(-1, 2).mean(1)
    labels = np.full((len(times), rows * columns, 3), IGNORED, dtype=np.int64)
    ys, xs = np.divmod(np.arange(rows * columns), columns)
    tokens = (np.stack([xs, ys], 1) + 0.5) * FACTOR
    nearest = np.full(labels.shape[:2], np.inf)
    for walker in scene.tracked:
        box = boxes[walker].reshape(-1, 2, 4).mean(1)
        half = np.maximum((box[:, 2:] - box[:, :2]) / 2, FACTOR / 2)
        middle = (box[:, :2] + box[:, 2:]) / 2
        distance = (np.abs(tokens - middle[:, None]) / half[:, None]).max(-1)
        there = (times >= walker.start_seconds) & (times < walker.end_seconds)
        mine = (distance < 1) & (distance < nearest) & there[:, None]
        nearest[mine] = distance[mine]
        doing = np.array([_motion_label(walker, float(t)) for t in times])
        labels[mine, 1] = walker.number
        labels[mine, 2] = doing[np.nonzero(mine)[0]]
    return labels


def _motion_label(walker: Walker, now: float) -> int:
    for segment in walker.segments:
        if segment.start_seconds <= now < segment.end_seconds:
            if segment.motion == RESTS:
                return 0
            return len(ACTIONS) + 1 + MOTIONS.index(segment.motion)
    return 0
