"""Frames and tracks in, what was measured of every object out, in words with seconds.

Class, colours, place, when it is seen, motion, rank by size: all that boxes and a few pixels can
say. Rules alone decide (`motion`, `colours`, `camera`), so the same video gives the same notes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.notes.camera import camera_motion
from stvg_r1_hub.notes.colours import LOWER, UPPER, WHOLE, colours_of, shows_colours
from stvg_r1_hub.notes.motion import follow, motion_of
from stvg_r1_hub.structures import Frames, Notes, ObjectNote, Track, Tracks

MOST_OBJECTS = 60
"""More are not noted: the most visible ones are."""
_FAST_FACTOR, _FAST_AT_LEAST, _ALWAYS_FAST = 1.8, 0.9, 2.0
"""Fast is so many times the usual speed of its class in the clip, and at least so many heights a
second; or so many whatever the others do."""
_EDGE_SHARE, _SLACK_SECONDS = 0.03, 0.35
"""An object comes in by an edge that its first box is so near to, in shares of the frame's side; it
enters or leaves where it is not there this close to the clip's ends."""
_CROSSES = 0.45
"""Share of the frame's width from which an object that passes it has no place."""
_NEAR, _FAR = 0.72, 0.45
"""Shares of the frame's height below and above which an object stands near or far."""


def take_notes(frames: Frames, tracks: Tracks, *, duration_seconds: float | None = None) -> Notes:
    """What there is to say about every object of a video.

    Args:
        frames: the sample, for colours and the camera's movement.
        tracks: of the same video.
        duration_seconds: end of the video; None takes the last frame to be as long as the others.

    Returns:
        Notes of at most `MOST_OBJECTS` objects, the most visible ones.
    """
    times = tracks.frame_times
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    end = float(times[-1]) + step if duration_seconds is None else duration_seconds
    limits: list[str] = []
    chosen = sorted(tracks.tracks, key=lambda t: (-len(t.frame_indices), t.object_id))
    if len(chosen) > MOST_OBJECTS:
        limits.append(
            f"Notes were taken of the {MOST_OBJECTS} most visible of {len(chosen)} objects."
        )
        chosen = chosen[:MOST_OBJECTS]
    camera = camera_motion(frames, tracks)
    if camera.moves:
        limits.append("The camera moves; what objects do is told against the background.")
    coloured = shows_colours(frames)
    if not coloured:
        limits.append("The footage is grey or dark, so colours are not told.")
    size = (tracks.width, tracks.height)
    velocities = [follow(t, times[t.frame_indices], size, camera)[0] for t in chosen]
    fast = _fast_speeds(chosen, velocities)
    objects = tuple(
        _note(
            track,
            velocity,
            fast[track.class_name],
            chosen,
            frames if coloured else None,
            tracks,
            end,
        )
        for track, velocity in zip(chosen, velocities, strict=True)
    )
    names = tracks.class_names or tuple(dict.fromkeys(t.class_name for t in tracks.tracks))
    return Notes(objects, names, *size, end, tuple(limits))


def _note(
    track: Track,
    velocity: NDArray[np.float64],
    fast_speed: float,
    everyone: list[Track],
    frames: Frames | None,
    tracks: Tracks,
    end: float,
) -> ObjectNote:
    times = tracks.frame_times[track.frame_indices]
    last = int(track.frame_indices[-1])
    gone = float(tracks.frame_times[last + 1]) if last + 1 < len(tracks.frame_times) else end
    size = (tracks.width, tracks.height)
    is_person = track.class_name == "person"
    upper: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    if frames is not None:
        upper = colours_of(track, frames, UPPER if is_person else WHOLE)
        lower = colours_of(track, frames, LOWER) if is_person else ()
    kin = sorted((_size(t) for t in everyone if t.class_name == track.class_name), reverse=True)
    return ObjectNote(
        object_id=track.object_id,
        class_name=track.class_name,
        colours=upper,
        lower_colours=lower,
        place=_place(track.boxes, tracks.width),
        depth=_depth(track.boxes, tracks.height),
        start_seconds=float(times[0]),
        end_seconds=gone,
        enters=_edge(track.boxes[0], size) if times[0] > _SLACK_SECONDS else "",
        leaves=_edge(track.boxes[-1], size) if gone < end - _SLACK_SECONDS else "",
        motion=motion_of(velocity, times, gone, fast_speed),
        size_rank=1 + kin.index(_size(track)),
        n_of_class=len(kin),
        times_seconds=times,
        boxes=track.boxes,
        speeds=np.hypot(velocity[:, 0], velocity[:, 1]),
    )


def _fast_speeds(tracks: list[Track], velocities: list[NDArray[np.float64]]) -> dict[str, float]:
    """Class name to the speed from which one of it is fast in this clip."""
    found = {}
    for name in {t.class_name for t in tracks}:
        own = [v for t, v in zip(tracks, velocities, strict=True) if t.class_name == name]
        moving = [s for v in own if (s := float(np.median(np.hypot(v[:, 0], v[:, 1])))) > 0.25]
        usual = float(np.median(moving)) if len(moving) > 2 else _ALWAYS_FAST
        found[name] = min(_ALWAYS_FAST, max(_FAST_AT_LEAST, _FAST_FACTOR * usual))
    return found


def _size(track: Track) -> float:
    """Side of the square with the object's median area."""
    sides = track.boxes[:, 2:] - track.boxes[:, :2]
    return float(np.median(np.sqrt(np.maximum(sides[:, 0] * sides[:, 1], 0))))


def _place(boxes: NDArray[np.float32], width: int) -> str:
    x = (boxes[:, 0] + boxes[:, 2]) / 2 / width
    low, high = np.quantile(x, [0.1, 0.9])
    if high - low > _CROSSES:
        return ""
    middle = float(np.median(x))
    return "left" if middle < 0.38 else "right" if middle > 0.62 else "middle"


def _depth(boxes: NDArray[np.float32], height: int) -> str:
    feet = float(np.median(boxes[:, 3])) / height
    return "near" if feet > _NEAR else "far" if feet < _FAR else ""


def _edge(box: NDArray[np.float32], size: tuple[int, int]) -> str:
    """The edge of the frame that a box is nearest to, or `"within"`."""
    left, top, right, bottom = box.tolist()
    gaps = {
        "left": left / size[0],
        "right": 1 - right / size[0],
        "top": top / size[1],
        "bottom": 1 - bottom / size[1],
    }
    edge = min(gaps, key=lambda name: gaps[name])
    return edge if gaps[edge] <= _EDGE_SHARE else "within"
