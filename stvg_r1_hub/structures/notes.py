"""What is measured of every object, in words with seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.structures.video import ByValue


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
class ObjectNote(ByValue):
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
