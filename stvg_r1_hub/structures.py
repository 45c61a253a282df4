"""The records that travel between the stages, one per arrow of the flow.

All of them are frozen and check themselves. Axis letters used everywhere in this package:

* `F` native frames of the video, `T` frames in a sample or track, `N` objects,
* `H`, `W` height and width in pixels.

Frames are uint8 RGB, `(H, W, 3)` each. Boxes are float32 `xyxy` in pixels of the original
frame, right and bottom exclusive. Masks are COCO run-length dicts
`{"size": [H, W], "counts": str}`. Times are seconds since the first video frame; a time range
is half-open: a frame belongs to it when `start <= time < end`. `frame_index` always counts
native frames from 0; `sample_index` counts the frames of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Range = tuple[float, float]
"""`[start, end)` in seconds."""
Progress = Callable[[str, int, int | None], None]
"""`progress(stage, done, total)`, called often; raise `errors.Cancelled` in it to stop."""


class RLE(TypedDict):
    """A COCO compressed run-length mask: `size` is `[H, W]`, `counts` is ASCII."""

    size: list[int]
    counts: str


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What is known of a video after reading its packets, before decoding a pixel.

    `width` and `height` are as shown to a viewer: after rotation and with square pixels.
    """

    name: str
    width: int
    height: int
    frame_times: NDArray[np.float64]
    """`(F,)` ascending seconds, the first is 0."""
    duration_seconds: float
    """End of the last frame."""
    has_audio: bool = False

    def __post_init__(self) -> None:
        times = self.frame_times
        _check(times.ndim == 1 and len(times) > 0, f"frame_times must be (F,), got {times.shape}")
        _check(bool(np.all(np.diff(times) > 0)), "frame_times must be strictly ascending")
        _check(self.width > 0 and self.height > 0, f"got a {self.width}x{self.height} video")

    @property
    def n_frames(self) -> int:
        """F, the number of native frames."""
        return len(self.frame_times)

    @property
    def fps(self) -> float:
        """Average frames per second; for display and sampling, never for frame times."""
        return self.n_frames / self.duration_seconds

    def __repr__(self) -> str:
        return (
            f"VideoInfo({self.name!r}, {self.width}x{self.height}, {self.n_frames} frames, "
            f"{self.duration_seconds:.2f} s)"
        )


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """One decoded native frame with its place in the video."""

    frame_index: int
    time_seconds: float
    pixels: Pixels
    """`(H, W, 3)` uint8 RGB."""


@dataclass(frozen=True)
class SamplingPlan:
    """Which native frames the language model sees, and at what size."""

    frame_indices: tuple[int, ...]
    """Ascending, even in number; the last is repeated when the video is too short."""
    sample_fps: float
    """Frames of the sample per second of video; 2 / sample_fps is one grid step in seconds."""
    model_height: int
    model_width: int


@dataclass(frozen=True, eq=False)
class Frames:
    """The sampled frames at original size, with the size the language model wants."""

    pixels: Pixels
    """`(T, H, W, 3)` uint8 RGB."""
    frame_indices: NDArray[np.int64]
    """`(T,)` native frame of each sample."""
    times_seconds: NDArray[np.float64]
    """`(T,)`."""
    sample_fps: float
    model_height: int
    model_width: int

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        _check(len(shape) == 4 and shape[3] == 3, f"pixels must be (T, H, W, 3), got {shape}")
        _check(self.pixels.dtype == np.uint8, f"pixels must be uint8, got {self.pixels.dtype}")
        _check(
            len(self.frame_indices) == len(self.times_seconds) == shape[0],
            f"{shape[0]} frames, {len(self.frame_indices)} indices, "
            f"{len(self.times_seconds)} times",
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        return f"Frames(pixels={self.pixels.shape}, sample_fps={self.sample_fps:g})"


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects a detector sees in one frame."""

    boxes: NDArray[np.float32]
    """`(N, 4)` xyxy pixels of the frame."""
    scores: NDArray[np.float32]
    """`(N,)` in 0..1."""
    class_ids: NDArray[np.int64]
    """`(N,)` index into the detector's `class_names`."""

    def __post_init__(self) -> None:
        n = len(self.boxes)
        _check(self.boxes.shape == (n, 4), f"boxes must be (N, 4), got {self.boxes.shape}")
        _check(len(self.scores) == len(self.class_ids) == n, "boxes, scores, class_ids differ")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Track:
    """One object through the video: at most one box a native frame."""

    object_id: int
    """The number drawn on the object: a small positive integer, stable for the whole video."""
    class_name: str
    score: float
    """Mean detection score in 0..1."""
    frame_indices: NDArray[np.int64]
    """`(T,)` native frames where the object is visible, strictly ascending."""
    boxes: NDArray[np.float32]
    """`(T, 4)` xyxy."""
    interpolated: NDArray[np.bool_]
    """`(T,)` True where the box lies between two detections instead of on one."""
    masks: tuple[RLE | None, ...] | None = None
    """T masks, or None when the tracker gives boxes only."""

    def __post_init__(self) -> None:
        n = len(self.frame_indices)
        _check(self.object_id > 0, f"object_id must be positive, got {self.object_id}")
        _check(n > 0, f"track {self.object_id} is empty")
        _check(bool(np.all(np.diff(self.frame_indices) > 0)), "frame_indices must ascend")
        _check(self.boxes.shape == (n, 4), f"boxes must be ({n}, 4), got {self.boxes.shape}")
        _check(len(self.interpolated) == n, f"interpolated must be ({n},)")
        _check(self.masks is None or len(self.masks) == n, f"masks must be {n} long or None")

    def position(self, frame_index: int) -> int | None:
        """Index into this track's arrays for a native frame, or None when not visible there."""
        i = int(np.searchsorted(self.frame_indices, frame_index))
        if i < len(self.frame_indices) and self.frame_indices[i] == frame_index:
            return i
        return None

    def box_at(self, frame_index: int) -> NDArray[np.float32] | None:
        """`(4,)` box at a native frame, or None when the object is not visible there."""
        i = self.position(frame_index)
        return None if i is None else self.boxes[i]

    def at(self, positions: NDArray[np.int64]) -> Track:
        """This track at some positions of its arrays alone, at least one, ascending."""
        masks = self.masks
        return replace(
            self,
            frame_indices=self.frame_indices[positions],
            boxes=self.boxes[positions],
            interpolated=self.interpolated[positions],
            masks=None if masks is None else tuple(masks[i] for i in positions.tolist()),
        )

    def __repr__(self) -> str:
        return f"Track({self.object_id}, {self.class_name!r}, {len(self.frame_indices)} frames)"


@dataclass(frozen=True, eq=False)
class Tracks:
    """Every object of one video."""

    width: int
    height: int
    frame_times: NDArray[np.float64]
    """`(F,)` seconds of every native frame."""
    tracks: tuple[Track, ...]
    warnings: tuple[str, ...] = ()
    """What a user should know of how they were found, one sentence each."""
    tracker: str = ""
    """Name of the tracker that found them; empty where they come from elsewhere."""
    class_names: tuple[str, ...] = ()
    """All that the tracker can tell apart; empty where it does not say."""

    def __post_init__(self) -> None:
        ids = [track.object_id for track in self.tracks]
        _check(len(set(ids)) == len(ids), f"object ids must be unique, got {ids}")
        last = max((int(track.frame_indices[-1]) for track in self.tracks), default=-1)
        _check(
            last < len(self.frame_times),
            f"a track reaches frame {last} of a video with {len(self.frame_times)} frames",
        )

    @property
    def object_ids(self) -> tuple[int, ...]:
        """IDs in track order."""
        return tuple(track.object_id for track in self.tracks)

    def get(self, object_id: int) -> Track | None:
        """The track with this ID, or None."""
        return next((t for t in self.tracks if t.object_id == object_id), None)

    def __len__(self) -> int:
        return len(self.tracks)

    def __repr__(self) -> str:
        return f"Tracks({self.width}x{self.height}, {len(self.frame_times)} frames, {self.tracks})"


@dataclass(frozen=True)
class Segment:
    """What an object does during `[start_seconds, end_seconds)`."""

    word: str
    """`"left"`, `"right"`, `"towards"`, `"away"`, `"still"`, `"moving"` (no clear direction), or
    `"fast"`, which stands beside one of the others."""
    start_seconds: float
    end_seconds: float

    def __str__(self) -> str:
        return f"{self.word} {self.start_seconds:.1f}-{self.end_seconds:.1f}"


@dataclass(frozen=True, eq=False)
class ObjectNote:
    """What is known of one numbered object from its boxes and pixels, see `notes.take_notes`."""

    object_id: int
    class_name: str
    colours: tuple[str, ...]
    """Of the whole object, most of it first; for a person of the upper body. Empty where unsure."""
    lower_colours: tuple[str, ...]
    """A person's lower body."""
    place: str
    """`"left"`, `"middle"` or `"right"`, or empty for one that crosses the picture."""
    depth: str
    """`"near"`, `"far"` or empty."""
    start_seconds: float
    """First seen."""
    end_seconds: float
    """End of the last frame in which it is seen."""
    enters: str
    """`"left"`, `"right"`, `"top"`, `"bottom"`: the edge it comes in by; `"within"` for one that
    appears inside of the picture, or empty for one that is there from the start."""
    leaves: str
    """The same for the end."""
    motion: tuple[Segment, ...]
    size_rank: int
    """1 for the largest of its class."""
    n_of_class: int
    times_seconds: NDArray[np.float64]
    """`(T,)` instants at which it is seen."""
    boxes: NDArray[np.float32]
    """`(T, 4)` xyxy there."""
    speeds: NDArray[np.float64]
    """`(T,)` in its own heights a second, the camera's movement taken out."""

    @property
    def line(self) -> str:
        """One line that people and language models read."""
        colours = ", ".join(self.colours)
        if self.lower_colours:
            colours = f"{colours or 'unclear'} above, {', '.join(self.lower_colours)} below"
        seen = f"seen {self.start_seconds:.1f}-{self.end_seconds:.1f} s"
        ways = [
            f"{verb} at the {edge}" if edge != "within" else verb2
            for verb, verb2, edge in (
                ("enters", "appears", self.enters),
                ("leaves", "disappears", self.leaves),
            )
            if edge
        ]
        size = f"size {self.size_rank} of {self.n_of_class}" if self.n_of_class > 1 else ""
        place = " ".join(filter(None, (self.depth, self.place)))
        parts = [colours, place, ", ".join([seen, *ways]), ", ".join(map(str, self.motion)), size]
        return f"{self.object_id} {self.class_name}: " + "; ".join(filter(None, parts))


@dataclass(frozen=True)
class Notes:
    """What was measured of every object that is considered, most visible first."""

    objects: tuple[ObjectNote, ...]
    class_names: tuple[str, ...]
    """What the tracker can tell apart; where it does not say, what it found."""
    width: int
    height: int
    duration_seconds: float
    limits: tuple[str, ...] = ()
    """What could not be measured, one sentence each."""

    @property
    def lines(self) -> tuple[str, ...]:
        """One line an object, by number."""
        return tuple(n.line for n in sorted(self.objects, key=lambda n: n.object_id))


class Prompt(str):
    """What a language model is asked with, and how its answer is read; as text for any model."""

    query: str
    """The description inside of the text."""
    parse: Callable[..., Answer]
    """Reads the model's text; `frame_times=` gives the seconds of the frames that it saw."""
    needs_objects: bool
    """False where it asks for a time alone, of a video without numbers on it."""

    def __new__(
        cls, text: str, query: str, parse: Callable[..., Answer], needs_objects: bool
    ) -> Prompt:
        """Make one of the whole text and what belongs to it."""
        prompt = super().__new__(cls, text)
        prompt.query, prompt.parse, prompt.needs_objects = query, parse, needs_objects
        return prompt

    def __reduce__(self) -> tuple[Any, ...]:
        return Prompt, (str(self), self.query, self.parse, self.needs_objects)


class Generated(str):
    """A model's text, with how sure it was of the object that the text names.

    Any model's `generate` may return it in place of a `str`.
    """

    id_probabilities: Mapping[int, float]
    """Probability of each object number that the text names it first, at most 1 together."""
    id_ranges: Mapping[int, Range]
    """When it would be for other objects, where the model says so."""

    def __new__(
        cls,
        text: str,
        id_probabilities: Mapping[int, float],
        id_ranges: Mapping[int, Range] | None = None,
    ) -> Generated:
        """Make one of the whole text and what belongs to it."""
        generated = super().__new__(cls, text)
        generated.id_probabilities, generated.id_ranges = id_probabilities, id_ranges or {}
        return generated

    def __reduce__(self) -> tuple[Any, ...]:
        return Generated, (str(self), self.id_probabilities, self.id_ranges)


@dataclass(frozen=True, eq=False)
class MarkedFrames:
    """The sampled frames with numbers drawn on them: exactly what the language model sees."""

    frames: Frames
    drawn_ids: tuple[frozenset[int], ...]
    """For each sampled frame, the IDs whose number was drawn there."""
    notes: Notes | None = None
    """What was measured of the objects, for models that read it."""
    numbers: Mapping[int, int] = field(default_factory=dict)
    """ID to the number drawn in its place, for objects whose own has too many digits to be read."""

    def __post_init__(self) -> None:
        _check(
            len(self.drawn_ids) == len(self.frames),
            f"{len(self.frames)} frames but {len(self.drawn_ids)} sets of IDs",
        )

    @property
    def visible_ids(self) -> frozenset[int]:
        """IDs that the model could see at all; only these can be an answer."""
        return frozenset().union(*self.drawn_ids)


SAYS_NOTHING = "the model says"
"""How `Answer.problem` begins when the model itself answers that nothing fits."""


@dataclass(frozen=True)
class Answer:
    """What the model's text says. `problem` tells why it is unusable; None means usable."""

    object_ids: tuple[int, ...]
    start_seconds: float | None
    """First moment of the first range."""
    end_seconds: float | None
    """End of the last range."""
    reasoning: str = ""
    """Content of the think block."""
    rule: str = ""
    """Name of the parsing rule that matched: `"strict"`, or what was forgiven."""
    problem: str | None = None
    remark: str = ""
    """What the text says after its answer block."""
    ranges: tuple[Range, ...] = ()
    """All that it names, ascending and apart; empty where it is the one from start to end."""

    @property
    def is_valid(self) -> bool:
        """True when IDs and times could be read."""
        return self.problem is None


@dataclass(frozen=True)
class Look:
    """One look at a video: what of it the model saw, what it said, and what came of that."""

    kind: str
    """`"whole"`, `"window"` of a long video, `"group"` of a crowd, `"candidates"` alone, or
    `"closer"` in time."""
    start_seconds: float
    """Of the stretch that was shown."""
    end_seconds: float
    sample_fps: float
    """Frames of it a second."""
    shown_ids: tuple[int, ...]
    """Objects with a number."""
    object_ids: tuple[int, ...]
    """Objects that were answered; empty for none."""
    range_seconds: tuple[float, float] | None
    """Answered time range, in seconds of the video."""
    text: str
    """The model's text, in the look's own clock and numbers."""
    outcome: str
    """What it changed, in a sentence."""


@dataclass(frozen=True)
class Box:
    """The answered object in one native frame."""

    frame_index: int
    time_seconds: float
    xyxy: tuple[float, float, float, float]
    interpolated: bool
    object_id: int
    mask: RLE | None = None
    """None where no mask was made, or where it is empty."""

    def scaled(self, scale: float) -> Box:
        """The same box on a frame of another size, without its mask."""
        left, top, right, bottom = (v * scale for v in self.xyxy)
        return replace(self, xyxy=(left, top, right, bottom), mask=None)


@dataclass(frozen=True)
class Alternative:
    """Another object that the model might have meant, and when."""

    object_id: int
    start_seconds: float
    end_seconds: float
    confidence: float
    """0..1."""


@dataclass(frozen=True)
class Tube:
    """The answered objects through the answered time ranges."""

    object_ids: tuple[int, ...]
    start_seconds: float
    """Start of the first range."""
    end_seconds: float
    """End of the last range."""
    boxes: tuple[Box, ...]
    """By frame, then by object; frames of a range where the object is hidden have none."""
    has_masks: bool = False
    """Whether masks belong to the boxes; a box without one then has an empty one."""
    warnings: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    """Ascending and apart; where none is given, the one from start to end."""

    def __post_init__(self) -> None:
        if not self.ranges:
            object.__setattr__(self, "ranges", ((self.start_seconds, self.end_seconds),))

    @property
    def frame_indices(self) -> list[int]:
        """Native frames with a box, ascending."""
        return sorted({box.frame_index for box in self.boxes})
