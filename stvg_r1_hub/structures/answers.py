"""What a language model is shown and asked, what it answers, and what that means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stvg_r1_hub.structures.notes import Notes
from stvg_r1_hub.structures.objects import Box
from stvg_r1_hub.structures.video import ByValue, Frames, check

Range = tuple[float, float]
"""`[start, end)` in seconds."""


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
class MarkedFrames(ByValue):
    """The sampled frames with numbers drawn on them: exactly what the language model sees."""

    frames: Frames
    drawn_ids: tuple[frozenset[int], ...]
    """For each sampled frame, the IDs whose number was drawn there."""
    notes: Notes | None = None
    """What was measured of the objects, for models that read it."""
    numbers: Mapping[int, int] = field(default_factory=dict)
    """ID to the number drawn in its place, for objects whose own has too many digits to be read."""

    def __post_init__(self) -> None:
        check(
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
