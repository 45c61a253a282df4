"""Answers as HTML. Every text that comes from a visitor, a model or a file is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

from stvg_r1_hub.geometry import ranges_text
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Range, Track, Tracks, Tube, VideoInfo
from stvg_r1_hub.visual.drawing import css_color
from stvg_r1_hub.visual.pictures import timeline_rows
from stvg_r1_hub.web.reach import Absent

STAGES = {
    "start": ("Starting", ""),
    "load": ("Loading the model", ""),
    "wait": ("Waiting in line", "visitors before you:"),
    "decode/track": ("Finding and following every object", "frame"),
    "encode": ("Looking at the numbered video", ""),
    "answer": ("Thinking", "word piece"),
    "look": ("Looking again", "look"),
    "segment": ("Outlining the object", "frame"),
    "writing": ("Drawing the answer", "frame"),
    "reading": ("Drawing the answer", "frame"),
    "show": ("Bringing the answer", ""),
}
"""What is done in each stage, and what is counted there."""


@dataclass(frozen=True)
class Keyframe:
    """A small picture of one moment."""

    time_seconds: float
    jpeg: bytes
    inside: bool
    """Whether the moment belongs to the answer."""


def progress(stage: str, done: int, total: int | None) -> str:
    """What is being done right now, with the real counts."""
    label, unit = STAGES.get(stage, (escape(stage), ""))
    # The length of an answer is not known before it ends: its limit is no goal.
    open_ended = total is None or stage == "answer"
    count = f"{unit} {done}" + ("" if open_ended else f" of {total}") if unit else ""
    bar = "<progress></progress>"
    if not open_ended:
        bar = f'<progress max="{total}" value="{done}"></progress>'
    return (
        f'<div class="stvg-progress"><div><strong aria-live="polite">{label}</strong>'
        f"<span>{count}</span></div>{bar}</div>"
    )


def problem(sentence: str) -> str:
    """One readable sentence about what went wrong."""
    return f'<div class="stvg-problem" role="alert">{escape(_one_line(sentence))}</div>'


def note(sentence: str) -> str:
    """A quiet line, such as what is known of an upload."""
    return f'<div class="stvg-note">{escape(_one_line(sentence))}</div>' if sentence else ""


def caution(sentence: str) -> str:
    """What must be known before an answer is believed."""
    return f'<p class="stvg-caution">{escape(_one_line(sentence))}</p>'


def not_here(absent: Sequence[Absent]) -> str:
    """What cannot be chosen, greyed, with the reason."""
    reasons: dict[str, list[str]] = {}
    for one in absent:
        reasons.setdefault(one.reason, []).append(f"<li>{escape(one.label)}</li>")
    groups = (
        f"<p>Not available here: {escape(why)}</p><ul>{''.join(labels)}</ul>"
        for why, labels in reasons.items()
    )
    return f'<div class="stvg-absent">{"".join(groups)}</div>'


def video_facts(info: VideoInfo) -> str:
    """Length, size and rate of a video, in words."""
    return (
        f"{info.duration_seconds:.1f} s, {info.width} x {info.height} pixels, "
        f"{info.fps:.3g} frames a second"
    )


def short_answer(result: GroundingResult) -> str:
    """The answer in a few words, as text."""
    if not result.found:
        return f"{result.query}: not found"
    return f"{result.query}: {ranges_text(result.ranges)}"


def waiting_card(query: str) -> str:
    """In place of an answer that is still to come."""
    return (
        f'<section class="stvg-card" data-found="soon"><p class="stvg-query">{escape(query)}</p>'
        '<p class="stvg-when">The objects are here, the answer is being made</p></section>'
    )


def answer_card(
    result: GroundingResult,
    notes: Sequence[str] = (),
    *,
    elsewhere: Sequence[str] = (),
    asks: Sequence[str] = (),
    by_hand: str = "",
) -> str:
    """The answer in large letters, what it is about, and what should be known of it.

    Args:
        result: of one description.
        notes: sentences to add to its warnings.
        elsewhere: warnings that are shown already.
        asks: descriptions to offer where nothing was found.
        by_hand: what a visitor has corrected.
    """
    sentences = [*notes, *(warning for warning in result.warnings if warning not in elsewhere)]
    query = f'<p class="stvg-query">{escape(result.query)}</p>'
    if not result.found or result.start_seconds is None or result.end_seconds is None:
        offers = "".join(
            f'<button type="button" class="stvg-ask" data-ask="{escape(text)}">{escape(text)}'
            "</button>"
            for text in asks
        )
        offers = f'<p class="stvg-asks">What can be asked here: {offers}</p>' if offers else ""
        return (
            f'<section class="stvg-card" data-found="false">{query}'
            '<p class="stvg-when">Not found in this video</p>'
            f"{remarks(sentences)}{offers}</section>"
        )
    start, end = result.ranges[0]  # The moment that the video plays first, again and again.
    frames = len({box.frame_index for box in result.boxes})
    long = sum(b - a for a, b in result.ranges)
    sure = "" if result.confidence is None else f", confidence {result.confidence:.2f}"
    back = (
        '<button type="button" class="stvg-ask" data-pick="0">Back to the model\'s answer</button>'
    )
    return (
        f'<section class="stvg-card" data-found="true" data-start="{start}" data-end="{end}" '
        f'data-object="{result.object_ids[0] if result.object_ids else 0}">'
        f"{query}"
        f"{_moments(result.ranges)}"
        f'<p class="stvg-who">{"".join(_chip(result, i) for i in result.object_ids)}'
        f"<span>{long:.2f} s long, a box in {frames} frames{sure}</span></p>"
        f"{_play_buttons(result.ranges)} {back if by_hand else ''}{_others(result)}"
        f"{remarks([by_hand, *sentences] if by_hand else sentences)}</section>"
    )


def _moments(ranges: Sequence[Range]) -> str:
    return "".join(
        f'<p class="stvg-when">{start:.2f} s <span>to</span> {end:.2f} s</p>'
        for start, end in ranges
    )


def _play_buttons(ranges: Sequence[Range]) -> str:
    several = len(ranges) > 1
    return " ".join(
        f'<button type="button" class="stvg-play" data-seek="{start}" data-until="{end}">'
        f"Play {f'{start:.2f} to {end:.2f} s' if several else 'this moment'}</button>"
        for start, end in ranges
    )


def _others(result: GroundingResult) -> str:
    """What the model might have meant instead, with its confidence."""
    items = "".join(
        f"<li>{_chip(result, other.object_id)} {other.start_seconds:.2f} to "
        f"{other.end_seconds:.2f} s, confidence {other.confidence:.2f}</li>"
        for other in result.alternatives
    )
    return f'<p>It might also be:</p><ul class="stvg-others">{items}</ul>' if items else ""


def _chip(result: GroundingResult, object_id: int) -> str:
    track = result.tracks.get(object_id) if result.tracks else None
    name = track.class_name if track else ""
    return (
        f'<span class="stvg-chip" style="--object:{css_color(object_id)}"><i></i>'
        f"number {object_id}{', ' + escape(name) if name else ''}</span>"
    )


def remarks(sentences: Sequence[str]) -> str:
    """What is to be known of an answer, or of several alike."""
    items = "".join(f"<li>{escape(_one_line(s))}</li>" for s in dict.fromkeys(sentences))
    return f'<ul class="stvg-notes">{items}</ul>' if items else ""


def timeline(tracks: Tracks, tube: Tube | None, window: Range) -> str:
    """All tracks as bars over the time axis, with the answered range; a click plays from there.

    Args:
        tracks: all objects.
        tube: the answer, if there is one.
        window: what of the video was looked at, in seconds.
    """
    first, last = window
    axis = _Axis(first, last - first)
    opening = f'<section class="stvg-timeline" data-from="{first}" data-duration="{axis.length}"'
    heading = "<h2>When each object is seen</h2>"
    answered = tube.object_ids if tube else ()
    rows = timeline_rows(tracks, answered)
    if not rows:
        return f"{opening}>{heading}<p>No object was found in this video.</p></section>"
    lanes = "".join(_lane(track, tracks, axis, answered) for track in rows)
    hidden = len(tracks) - len(rows)
    more = f"<p>{hidden} more objects are not shown.</p>" if hidden else ""
    color = css_color(answered[0]) if answered else "currentColor"
    span = "".join(
        f'<div class="stvg-span" style="{axis.place(*given)};--object:{color}"></div>'
        for given in (tube.ranges if tube else ())
    )
    return (
        f'{opening} aria-label="Timeline">'
        f'{heading}<div class="stvg-lanes">{lanes}'
        f'<div class="stvg-over">{span}<div class="stvg-playhead"></div></div></div>'
        f'<div class="stvg-axis"><span></span><div>{_ticks(axis)}</div></div>{more}</section>'
    )


class _Axis(NamedTuple):
    """The seconds that a timeline shows."""

    first: float
    length: float

    def share(self, seconds: float) -> float:
        """Where a moment is, in percent."""
        return 100 * (seconds - self.first) / self.length

    def place(self, start: float, end: float) -> str:
        """A time range as a style."""
        left = self.share(start)
        return f"left:{left:.3f}%;width:{self.share(end) - left:.3f}%"


def _lane(track: Track, tracks: Tracks, axis: _Axis, answered: tuple[int, ...]) -> str:
    """One object: its name, and a bar for every stretch in which it is visible."""
    times = np.append(tracks.frame_times, axis.first + axis.length)
    breaks = np.flatnonzero(np.diff(track.frame_indices) > 1) + 1
    bars = "".join(
        f'<i style="{axis.place(float(times[part[0]]), float(times[part[-1] + 1]))}"></i>'
        for part in np.split(track.frame_indices, breaks)
    )
    mark = " stvg-answered" if track.object_id in answered else ""
    label = escape(f"{track.object_id} {track.class_name}".strip())
    return (
        f'<div class="stvg-lane{mark}" style="--object:{css_color(track.object_id)}">'
        f'<button type="button" data-pick="{track.object_id}" title="Make {label} the answer">'
        f"{label}</button><div>{bars}</div></div>"
    )


def _ticks(axis: _Axis) -> str:
    steps = (0.5, 1, 2, 5, 10, 20, 30, 60)
    step = next((s for s in steps if axis.length / s <= 6), 120)
    marks = np.arange(-(-axis.first // step) * step, axis.first + axis.length + 1e-6, step)
    # The first label begins at its mark, the last one ends there: none hangs over the edge.
    places = ((t, axis.share(t)) for t in marks)
    return "".join(
        f'<i style="left:{left:.3f}%;transform:translateX(-{left:.0f}%)">{t:g} s</i>'
        for t, left in places
    )


def keyframes(frames: Sequence[Keyframe]) -> str:
    """A strip of small pictures; each is a button that plays from its moment."""
    cells = []
    for frame in frames:
        picture = base64.b64encode(frame.jpeg).decode("ascii")
        state = "in the answer" if frame.inside else "outside the answer"
        cells.append(
            f'<button type="button" class="stvg-frame" data-inside="{str(frame.inside).lower()}" '
            f'data-seek="{frame.time_seconds}" '
            f'aria-label="{frame.time_seconds:.1f} s, {state}: play from here">'
            f'<img alt="" src="data:image/jpeg;base64,{picture}">'
            f"<span>{frame.time_seconds:.1f} s</span></button>"
        )
    return f'<div class="stvg-strip" role="group" aria-label="Moments">{"".join(cells)}</div>'


def reasoning(result: GroundingResult) -> str:
    """What the model thought, and its words as they came."""
    if not result.raw_text:
        return '<p class="stvg-note">The language model was not asked.</p>'
    thought = escape(result.reasoning) or "The model gave no reasons."
    clock = f"Seconds in its words count from {result.part[0]:.1f} s." if result.part else ""
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in result.timings.items())
    return (
        f'<blockquote class="stvg-thought">{thought}</blockquote>{note(clock)}'
        '<details class="stvg-note"><summary>Its whole answer, letter by letter</summary>'
        f"<code>{escape(result.raw_text)}</code><p>Time spent: {escape(seconds)}</p></details>"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
