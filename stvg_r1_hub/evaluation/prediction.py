"""`Prediction`: what a model answered to one sample, in the form that every protocol scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import RLE, SAYS_NOTHING, Tracks


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model answered to one sample; times and frames count from the start of the file."""

    text: str = ""
    """The model's whole output."""
    start_seconds: float | None = None
    """Answered range, cut to the video; None, as the end, when nothing usable was answered."""
    end_seconds: float | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    """All answered ranges, where the model gave several."""
    confidence: float | None = None
    """How sure the model is, 0..1; None where it does not tell."""
    object_ids: tuple[int, ...] = ()
    declined: bool = False
    """True when the model said that nothing matches."""
    frame_times: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """`(F,)` seconds of every shown native frame."""
    first_frame: int = 0
    """Native frame of the file that is the first shown one."""
    frame_indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """`(P,)` frames of `boxes`, strictly ascending."""
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    """`(P, 4)` xyxy of the (first) answered object wherever it is visible, also outside the
    answered range."""
    masks: Mapping[int, RLE] | None = None
    """Shown frame to the union mask of the answered objects."""
    tracks: Tracks | None = None
    """All objects, in shown frames; None for models that write boxes themselves."""

    @property
    def answered(self) -> bool:
        """Whether there is a range to score."""
        return self.start_seconds is not None

    @property
    def range_seconds(self) -> tuple[float, float]:
        """The answered range, or an empty one."""
        if self.start_seconds is None or self.end_seconds is None:
            return 0.0, 0.0
        return self.start_seconds, self.end_seconds

    @property
    def all_ranges(self) -> tuple[tuple[float, float], ...]:
        """The answered ranges in seconds, none without an answer."""
        return self.ranges or ((self.range_seconds,) if self.answered else ())

    @property
    def frame_range(self) -> tuple[int, int]:
        """The answered half-open range of native frames of the file."""
        frames = frames_in_range(self.frame_times, *self.range_seconds)
        return self.first_frame + frames.start, self.first_frame + frames.stop

    @property
    def tube(self) -> dict[int, NDArray[np.float64]]:
        """Frame of the file to the answered object's box."""
        return dict(zip(self.frame_indices.tolist(), self.boxes, strict=True))


def prediction_of(
    result: GroundingResult,
    *,
    first_frame: int = 0,
    offset_seconds: float = 0.0,
    masks: Mapping[int, RLE] | None = None,
) -> Prediction:
    """A result in the form that protocols score.

    Args:
        result: of the pipeline.
        first_frame: native frame of the file that is the first one of the result's clip.
        offset_seconds: the moment of that frame.
        masks: union masks of the answered objects by frame of the clip, for mask benchmarks.
    """
    problem = result.answer.problem if result.answer is not None else None
    tube, track = result.tube, None
    if tube is not None and tube.object_ids and result.tracks is not None:
        track = result.tracks.get(tube.object_ids[0])
    boxes: dict[str, Any] = {}
    if track is not None:
        boxes = {"frame_indices": track.frame_indices + first_frame,
                 "boxes": track.boxes.astype(np.float64)}  # fmt: skip
    times = result.info.frame_times if result.info is not None else np.zeros(0)
    return Prediction(
        text=_text_of(result),
        start_seconds=tube.start_seconds + offset_seconds if tube else None,
        end_seconds=tube.end_seconds + offset_seconds if tube else None,
        ranges=tuple((a + offset_seconds, b + offset_seconds) for a, b in result.ranges)
        if len(result.ranges) > 1
        else (),
        confidence=result.confidence,
        object_ids=result.object_ids,
        declined=bool(problem and problem.startswith(SAYS_NOTHING)),
        frame_times=times + offset_seconds,
        first_frame=first_frame,
        tracks=result.tracks,
        masks=masks,
        **boxes,
    )


def _text_of(result: GroundingResult) -> str:
    """What the model wrote; after further looks, which number anew, what stands."""
    if not result.looks:
        return result.raw_text
    ids, times = ", ".join(map(str, result.object_ids)), (result.start_seconds, result.end_seconds)
    said = f"{ids}, Time range: {times[0]:.2f} to {times[1]:.2f}" if ids else "none"
    return f"<think>{result.reasoning}</think><answer>Target ID: {said}</answer>"
