"""An answer and the tracks in, the boxes of every native frame of the answered ranges out.

A box is never invented: what the tracks do not show is left out and said in the warnings.
"""

from __future__ import annotations

from stvg_r1_hub.geometry import frames_in_range, joined_ranges, ranges_text
from stvg_r1_hub.structures import SAYS_NOTHING, Answer, Box, Range, Track, Tracks, Tube

_ANSWER_PRECISION_SECONDS = 0.01
"""Answers have two decimals, so an end this much behind the video's end is only rounding."""


def build_tube(
    answer: Answer,
    tracks: Tracks,
    *,
    visible_ids: frozenset[int] | None = None,
    duration_seconds: float | None = None,
    masks: bool = True,
    needs_objects: bool = True,
    offset_seconds: float = 0.0,
) -> Tube:
    """Boxes of the answered objects in every native frame of the answered time ranges.

    Never raises for a bad answer: the tube then has no boxes and `warnings` holds the reason.

    Args:
        answer: what the model's text says.
        tracks: all objects of the video.
        visible_ids: IDs whose number was drawn in a frame the model saw; None means all.
        duration_seconds: end of the video; None takes the last frame to be shown as long as the
            one before it.
        masks: give the boxes the masks of their tracks, where these have any.
        needs_objects: False for an answer about time alone: the tube is its time range.
        offset_seconds: added to the times that the warnings tell, where this video is a part.

    Returns:
        The tube. Its time range is cut to the video, its `object_ids` are those that exist and
        were visible; frames in which an object is hidden have no box of it.
    """
    start, end = answer.start_seconds, answer.end_seconds
    if answer.problem is not None or start is None or end is None:
        reason = answer.problem or "the answer names no time range"
        what = "Nothing fits" if reason.startswith(SAYS_NOTHING) else "No usable answer"
        return Tube((), 0.0, 0.0, (), warnings=(f"{what}: {answer.remark or reason + '.'}",))
    warnings = [answer.remark] if answer.remark else []
    chosen = _chosen_tracks(answer.object_ids, tracks, visible_ids, warnings)
    ranges = _clip(
        answer.ranges or ((start, end),), tracks, duration_seconds, warnings, offset_seconds
    )
    start, end = ranges[0][0], ranges[-1][1]
    if not needs_objects:
        return Tube((), start, end, (), warnings=tuple(warnings), ranges=ranges)
    frames = [frames_in_range(tracks.frame_times, *given) for given in ranges]
    count = sum(map(len, frames))
    if not count:
        warnings.append(f"No frame of the video lies in {_text(ranges, offset_seconds)}.")

    found: list[Box] = []
    for track in chosen:
        boxes = [box for part in frames for box in _boxes_of(track, part, tracks, masks)]
        hidden = count - len(boxes)
        if hidden:
            warnings.append(
                f"Object {track.object_id} is not visible in {hidden} of the {count} frames "
                "of the time range; these have no box."
            )
        found += boxes
    found.sort(key=lambda box: (box.frame_index, box.object_id))
    if not found and not warnings:
        warnings.append("The answer names no object.")
    return Tube(
        object_ids=tuple(track.object_id for track in chosen),
        start_seconds=start,
        end_seconds=end,
        boxes=tuple(found),
        has_masks=masks and any(track.masks is not None for track in chosen),
        warnings=tuple(warnings),
        ranges=ranges,
    )


def _chosen_tracks(
    object_ids: tuple[int, ...],
    tracks: Tracks,
    visible_ids: frozenset[int] | None,
    warnings: list[str],
) -> list[Track]:
    """Tracks of the answered IDs; an ID without one is said in `warnings`."""
    chosen = []
    for object_id in dict.fromkeys(object_ids):
        track = tracks.get(object_id)
        if track is None:
            known = ", ".join(map(str, sorted(tracks.object_ids))) or "none"
            warnings.append(
                f"The model names object {_short(object_id)}, which is not in the video "
                f"(objects: {known}); it is left out."
            )
        elif visible_ids is not None and object_id not in visible_ids:
            warnings.append(
                f"The model names object {object_id}, whose number was not drawn in any frame it "
                "saw; it is left out."
            )
        else:
            chosen.append(track)
    return chosen


def _short(object_id: int) -> str:
    """The ID as text; a model may write one with thousands of digits."""
    return str(object_id) if object_id < 10**12 else "with a number of more than 12 digits"


def _clip(
    ranges: tuple[Range, ...],
    tracks: Tracks,
    duration: float | None,
    warnings: list[str],
    offset: float,
) -> tuple[Range, ...]:
    """The time ranges within the video, at least one."""
    times, answered_end = tracks.frame_times, max(map(max, ranges))
    last_step = float(times[-1] - times[-2]) if len(times) > 1 else 0.0
    video_end = float(times[-1]) + last_step if duration is None else duration
    if len(times) == 1 and duration is None:
        video_end = max(video_end, answered_end)
    if min(map(min, ranges)) < 0 or answered_end > video_end + _ANSWER_PRECISION_SECONDS:
        warnings.append(
            f"The answered time range {_text(ranges, offset)} reaches beyond the video "
            f"({offset:.4g} to {offset + video_end:.2f} s) and is cut."
        )
    cut = [(min(max(a, 0.0), video_end), min(max(b, 0.0), video_end)) for a, b in ranges]
    return joined_ranges(cut) or (cut[0],)


def _text(ranges: tuple[Range, ...], offset: float) -> str:
    return ranges_text([(start + offset, end + offset) for start, end in ranges])


def _boxes_of(track: Track, frames: range, tracks: Tracks, masks: bool) -> list[Box]:
    """One box for every frame of the range where the object is visible."""
    first, stop = track.frame_indices.searchsorted([frames.start, frames.stop]).tolist()
    boxes = []
    for i in range(first, stop):
        frame = int(track.frame_indices[i])
        left, top, right, bottom = track.boxes[i].tolist()
        boxes.append(
            Box(
                frame_index=frame,
                time_seconds=float(tracks.frame_times[frame]),
                xyxy=(left, top, right, bottom),
                interpolated=bool(track.interpolated[i]),
                object_id=track.object_id,
                mask=track.masks[i] if masks and track.masks is not None else None,
            )
        )
    return boxes
