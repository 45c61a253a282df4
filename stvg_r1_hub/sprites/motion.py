"""What moves in sprite world, and how: actions, objects, and the camera, as functions of time.

Nothing here holds pixels. Positions and sizes are fractions of the (square) frame's side, so one
scene can be rendered at any resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ACTIONS = (
    "walk", "jump", "spin", "grow", "shake",
    "shrink", "rise", "sink", "circle", "fade", "flip", "enter", "leave",
)  # fmt: skip
"""All actions; the first five make up the easy level."""


@dataclass(frozen=True)
class Event:
    """One action of one object during `[start_seconds, end_seconds)`."""

    name: str
    start_seconds: float
    end_seconds: float
    amount: float
    """Walk, enter, leave: signed distance; jump, rise, sink: height; spin, flip: turns; grow: gain;
    shake: degrees; shrink, fade: loss; circle: signed radius."""


class Poses(NamedTuple):
    """Where an object is at T instants; `(T,)` float64 each."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    size: NDArray[np.float64]
    """Side of the square picture."""
    angle: NDArray[np.float64]
    """Degrees, counter-clockwise."""
    stretch: NDArray[np.float64]
    """Factor of the width, negative when mirrored."""
    opacity: NDArray[np.float64]
    """0..1."""


@dataclass(frozen=True)
class SceneObject:
    """One object; it rests except during its events, which never overlap."""

    object_id: int
    kind: str
    x: float
    y: float
    size: float
    flipped: bool
    events: tuple[Event, ...]
    tint: str = ""
    """Name of the colour the picture is dipped in, or empty."""
    depth: float = 0.0
    """Nearer objects have a larger depth and are drawn over others."""

    def poses(self, seconds: NDArray[np.float64]) -> Poses:
        """Poses before the camera's movement: the sum of what all events have done so far.

        Args:
            seconds: `(T,)` instants.
        """
        zero = np.zeros(len(seconds))
        pose = Poses(zero + self.x, zero + self.y, zero + self.size, zero + 0, zero + 1, zero + 1)
        for event in self.events:
            pose = _after(pose, event, seconds)
        return pose

    def action_at(self, seconds: float) -> str | None:
        """Name of the action in progress, or None."""
        for event in self.events:
            if event.start_seconds <= seconds < event.end_seconds:
                return event.name
        return None


def _after(pose: Poses, event: Event, seconds: NDArray[np.float64]) -> Poses:
    length = event.end_seconds - event.start_seconds
    done = np.clip((seconds - event.start_seconds) / length, 0.0, 1.0)
    running = (done > 0) & (done < 1)
    amount, turn = event.amount, 2 * np.pi * done
    match event.name:
        case "walk" | "enter" | "leave":
            return pose._replace(x=pose.x + amount * done)
        case "rise":
            return pose._replace(y=pose.y - amount * done)
        case "sink":
            return pose._replace(y=pose.y + amount * done)
        case "grow":
            return pose._replace(size=pose.size * (1 + amount * done))
        case "shrink":
            return pose._replace(size=pose.size * (1 - amount * done))
        case "jump":
            hops = max(1, round(length / 0.75))
            height = amount * np.abs(np.sin(np.pi * hops * done))
            return pose._replace(y=pose.y - height * running)
        case "spin":
            return pose._replace(angle=pose.angle + 360 * amount * done * running)
        case "shake":
            swing = amount * np.sin(2 * np.pi * 3 * length * done)
            return pose._replace(angle=pose.angle + swing * running)
        case "circle":
            rounds = max(1, round(length / 1.25))
            return pose._replace(
                x=pose.x + amount * np.sin(rounds * turn),
                y=pose.y + abs(amount) * (np.cos(rounds * turn) - 1),
            )
        case "fade":
            return pose._replace(opacity=pose.opacity * (1 - amount * np.sin(np.pi * done)))
        case "flip":
            width = np.cos(turn * round(amount))
            edge_on = np.where(width < 0, -0.12, 0.12)
            width = np.where(np.abs(width) < 0.12, edge_on, width)
            return pose._replace(stretch=pose.stretch * np.where(running, width, 1.0))
    raise ValueError(f"action must be one of {', '.join(ACTIONS)}, got {event.name!r}")


@dataclass(frozen=True)
class Camera:
    """How the view moves: a steady pan and zoom, and the shake of a hand."""

    pan: tuple[float, float] = (0.0, 0.0)
    """Fractions of the side that the view moves over the clip."""
    zoom: float = 0.0
    """Gain of the scale over the clip; negative zooms out."""
    shake: float = 0.0
    """Largest shift by shaking, as a fraction of the side."""
    phases: tuple[float, ...] = field(default=(0.0, 0.0, 0.0, 0.0))
    """Of the four oscillations that make up the shake, in radians."""

    def view(self, seconds: NDArray[np.float64], duration_seconds: float) -> NDArray[np.float64]:
        """`(T, 3)` shift in x, shift in y, and scale at T instants.

        A point (x, y) of the scene is seen at `0.5 + scale * (x - 0.5 + shift)`.
        """
        done = seconds / duration_seconds - 0.5
        a, b, c, d = self.phases
        x = np.sin(9.1 * seconds + a) + 0.6 * np.sin(21.7 * seconds + b)
        y = np.sin(8.3 * seconds + c) + 0.6 * np.sin(24.9 * seconds + d)
        return np.stack(
            [
                self.pan[0] * done + self.shake * x / 1.6,
                self.pan[1] * done + self.shake * y / 1.6,
                1 + self.zoom * (done + 0.5),
            ],
            axis=1,
        )
