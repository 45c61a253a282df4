"""`AnnotatedSample`: one question about one video with its true answer, from any benchmark."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import AnnotationError
from stvg_r1_hub.structures import RLE, VideoInfo

_LATE = 1.0
"""Seconds that an annotation may reach over the end of its video by rounding."""


@dataclass(frozen=True)
class SetAside:
    """Something in an annotation file that is wrong and not used."""

    record: str
    """What the file calls it, or its place there."""
    reason: str
    n_boxes: int = 0
    """How many of its boxes are set aside; 0: the whole record is."""


@dataclass(frozen=True, eq=False)
class AnnotatedSample:
    """One annotated question; all times and frames count from the start of the video file.

    Time ranges and frame ranges are half-open. What an annotation file does not say is None.
    """

    sample_id: str
    """Unique in its benchmark; messages and result lines name it."""
    video: Path
    """The video file; readers do not open it."""
    query: str
    """The sentence as annotated."""
    start_seconds: float | None
    """True start; None, as the end, when nothing in the video is what the query describes."""
    end_seconds: float | None
    frame_indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """`(T,)` native frames of the true boxes, strictly ascending from 0; empty: time only."""
    boxes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    """`(T, 4)` xyxy in pixels of the original frame, right and bottom exclusive."""
    annotated_frames: tuple[int, int] | None = None
    """Half-open range of frames that the file gives boxes for, where some at its ends are set
    aside; None: from the first to the last box."""
    box_step: int = 1
    """Boxes are given in every so-many-th frame; vIoU then counts in such steps."""
    ranges: tuple[tuple[float, float], ...] = ()
    """All true ranges in seconds, ascending and apart, where there are several; start and end are
    those of the first and the last."""
    masks: tuple[RLE | None, ...] | None = None
    """For mask benchmarks: one a frame of the video, None where the object is hidden."""
    qtype: str | None = None
    """Kind of question: `"declarative"` or `"interrogative"` in VidSTG, see `vstar` for V-STaR."""
    fps: float | None = None
    n_frames: int | None = None
    """Frames of the video file."""
    width: int | None = None
    height: int | None = None
    clip_seconds: tuple[float, float] | None = None
    """The part of the file that is shown to the model; None: all of it."""
    frame_base: int = 0
    """Number that the annotation file gives to the first frame. Frames here count from 0; the
    official STVG-R1 evaluation uses the file's own numbers as they are."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Traits for breakdowns, such as `{"action": "jump"}`."""
    image_folder_fps: float | None = None
    """Frames per second when `video` is a folder of pictures."""

    def __post_init__(self) -> None:
        name = f"Sample {self.sample_id}"
        if not self.query.strip():
            raise AnnotationError(f"{name} has an empty query; remove it or write one.")
        if (self.start_seconds is None) != (self.end_seconds is None):
            raise AnnotationError(f"{name} has only one end of a time range; give both or none.")
        if self.start_seconds is not None and self.end_seconds is not None:
            if not 0 <= self.start_seconds < self.end_seconds < np.inf:
                raise AnnotationError(
                    f"{name} has the time range {self.start_seconds:g} to {self.end_seconds:g} s; "
                    "it must start at 0 or later and end after its start."
                )
        bounds = [bound for span in self.ranges for bound in span]
        if any(a >= b for a, b in itertools.pairwise(bounds)):
            raise AnnotationError(f"{name} has ranges that do not ascend apart: {self.ranges}.")
        self._check_boxes(name)

    def _check_boxes(self, name: str) -> None:
        frames, boxes = self.frame_indices, self.boxes
        if boxes.shape != (len(frames), 4):
            raise AnnotationError(f"{name} has {len(frames)} frames but boxes {boxes.shape}.")
        if not len(frames):
            return
        if frames[0] < 0 or np.any(np.diff(frames) <= 0):
            raise AnnotationError(f"{name} has box frames that do not ascend from 0 or later.")
        for index in np.flatnonzero(~(boxes[:, 2:] > boxes[:, :2]).all(axis=1))[:1]:
            raise AnnotationError(
                f"{name} has an empty box in frame {frames[index]}; every box needs a width and "
                "a height."
            )
        beyond = [self.width or np.inf, self.height or np.inf]
        outside = (boxes[:, :2] >= beyond) | (boxes[:, 2:] <= 0)
        for index in np.flatnonzero(outside.any(axis=1))[:1]:
            raise AnnotationError(
                f"{name} has a box wholly outside its {self.width}x{self.height} frame, in "
                f"frame {frames[index]}; correct the annotation."
            )
        if self.n_frames is not None and frames[-1] >= self.n_frames:
            raise AnnotationError(
                f"{name} has a box in frame {frames[-1]} of a video with {self.n_frames} frames."
            )

    def check_video(self, info: VideoInfo) -> list[str]:
        """What the video says otherwise than the annotation, one sentence each.

        Raises:
            AnnotationError: the boxes cannot be of this video: other frame size, or no frame of
                the true range exists.
        """
        name, notes = f"Sample {self.sample_id}", []
        if self.width and self.height and (self.width, self.height) != (info.width, info.height):
            raise AnnotationError(
                f"{name} is annotated for {self.width}x{self.height} pixels but its video has "
                f"{info.width}x{info.height}; use the video that was annotated."
            )
        if self.n_frames is not None and abs(self.n_frames - info.n_frames) > 1:
            notes.append(
                f"{name} is annotated for {self.n_frames} frames but its video has {info.n_frames}."
            )
        if self.has_boxes and self.frame_indices[0] >= info.n_frames:
            raise AnnotationError(
                f"{name} has its first box in frame {self.frame_indices[0]} but its video ends "
                f"with frame {info.n_frames - 1}; use the video that was annotated."
            )
        beyond = int((self.frame_indices >= info.n_frames).sum())
        if beyond:
            notes.append(f"{name} has {beyond} boxes after the end of its video.")
        if self.start_seconds is not None and self.start_seconds >= info.duration_seconds:
            raise AnnotationError(
                f"{name} starts at {self.start_seconds:.2f} s but its video ends at "
                f"{info.duration_seconds:.2f} s; use the video that was annotated."
            )
        if self.end_seconds is not None and self.end_seconds > info.duration_seconds + _LATE:
            notes.append(
                f"{name} is annotated until {self.end_seconds:.2f} s but its video ends at "
                f"{info.duration_seconds:.2f} s; what lies behind cannot be answered."
            )
        return notes

    @property
    def answerable(self) -> bool:
        """False when the right answer is that nothing matches."""
        return self.start_seconds is not None

    @property
    def all_ranges(self) -> tuple[tuple[float, float], ...]:
        """The true ranges in seconds, none where nothing matches."""
        if self.start_seconds is None or self.end_seconds is None:
            return ()
        return self.ranges or ((self.start_seconds, self.end_seconds),)

    @property
    def has_boxes(self) -> bool:
        """Whether where is annotated, not only when."""
        return len(self.frame_indices) > 0

    @property
    def frame_range(self) -> tuple[int, int]:
        """Half-open range of native frames that the true tube reaches over."""
        if self.annotated_frames is not None:
            return self.annotated_frames
        return int(self.frame_indices[0]), int(self.frame_indices[-1]) + 1

    @property
    def tube(self) -> dict[int, NDArray[np.float64]]:
        """Native frame to true `(4,)` box."""
        return dict(zip(self.frame_indices.tolist(), self.boxes, strict=True))

    def __repr__(self) -> str:
        return f"AnnotatedSample({self.sample_id!r}, {self.query!r}, {len(self.boxes)} boxes)"


@dataclass(frozen=True)
class Annotations:
    """What an annotation file gives."""

    samples: list[AnnotatedSample]
    """In file order, at least one."""
    set_aside: tuple[SetAside, ...] = ()

    @property
    def n_records_set_aside(self) -> int:
        """Records that give no sample."""
        return sum(not fault.n_boxes for fault in self.set_aside)

    @property
    def n_boxes_set_aside(self) -> int:
        """Boxes of the samples that count as no box in their frame."""
        return sum(fault.n_boxes for fault in self.set_aside)

    def warnings(self, most: int = 3) -> list[str]:
        """What to tell when something is set aside: how much, and the first few."""
        if not self.set_aside:
            return []
        messages = [f"{fault.record}: {fault.reason}" for fault in self.set_aside[:most]]
        return [
            f"Wrong annotations are set aside: records {self.n_records_set_aside} of "
            f"{len(self.samples) + self.n_records_set_aside}, boxes of the others "
            f"{self.n_boxes_set_aside}.",
            *messages,
            *(["..."] if len(self.set_aside) > most else []),
        ]


def group_by_video(samples: Sequence[AnnotatedSample]) -> list[list[AnnotatedSample]]:
    """Samples that show the same part of the same file together, in order of first mention."""
    groups: dict[object, list[AnnotatedSample]] = {}
    for sample in samples:
        key = (sample.video, sample.clip_seconds, sample.image_folder_fps)
        groups.setdefault(key, []).append(sample)
    return list(groups.values())
