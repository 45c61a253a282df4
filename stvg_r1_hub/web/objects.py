"""The objects of a video as HTML: a list to click on, and their boxes for clicks in the picture."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from stvg_r1_hub.structures import MarkedFrames, Notes, Tracks
from stvg_r1_hub.visual.drawing import css_color

THUMBNAIL = 72
"""Longest side of an object's picture, in pixels."""
MOST_MOMENTS = 150
"""At so many moments, spread over the video, a click finds the object under it."""
MOST_QUESTIONS = 4


def thumbnails(marked: MarkedFrames, tracks: Tracks) -> dict[int, bytes]:
    """A small JPEG of every object, from the sampled frame in which it is largest."""
    from PIL import Image

    pixels, indices = marked.frames.pixels, marked.frames.frame_indices
    scale = pixels.shape[2] / tracks.width
    pictures = {}
    for track in tracks.tracks:
        boxes = ((i, track.box_at(int(frame))) for i, frame in enumerate(indices))
        places = [(i, box * scale) for i, box in boxes if box is not None]
        if not places:
            continue
        i, box = max(places, key=lambda p: float((p[1][2] - p[1][0]) * (p[1][3] - p[1][1])))
        left, top, right, bottom = np.clip(
            np.round(box), 0, [pixels.shape[2], pixels.shape[1]] * 2
        ).astype(int)
        if right - left < 2 or bottom - top < 2:
            continue
        picture = Image.fromarray(pixels[i, top:bottom, left:right])
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=80)
        pictures[track.object_id] = data.getvalue()
    return pictures


def object_list(tracks: Tracks, notes: Sequence[str], pictures: Mapping[int, bytes]) -> str:
    """Every object as a button that makes it the answer.

    Args:
        tracks: all objects.
        notes: a line an object, as `Notes.lines`.
        pictures: JPEGs by number, where there are any.
    """
    if not len(tracks):
        return ""
    lines = {int(line.split(" ", 1)[0]): line.partition(": ")[2] for line in notes}
    items = []
    for track in sorted(tracks.tracks, key=lambda t: t.object_id):
        name = f"{track.object_id} {track.class_name}".strip()
        data = base64.b64encode(pictures.get(track.object_id, b"")).decode("ascii")
        image = f'<img alt="" src="data:image/jpeg;base64,{data}">' if data else ""
        items.append(
            f'<li><button type="button" class="stvg-object" data-pick="{track.object_id}" '
            f'style="--object:{css_color(track.object_id)}">'
            f"<i>{image}</i><span><strong>{escape(name)}</strong> "
            f"<small>{escape(lines.get(track.object_id, ''))}</small></span></button></li>"
        )
    return (
        f"<section class=\"stvg-objects\" data-boxes='{_moments(tracks)}'>"
        f"<h2>What there is: {escape(there_is(tracks))}</h2>"
        '<p class="stvg-note">If the answer is wrong, choose the right object: here, by its number '
        "in the timeline, or by a double click in the video.</p>"
        f"<ul>{''.join(items)}</ul></section>"
    )


def _moments(tracks: Tracks) -> str:
    """Boxes at some moments as JSON, in thousandths of the frame's width and height."""
    count = len(tracks.frame_times)
    frames = np.unique(np.linspace(0, count - 1, min(count, MOST_MOMENTS)).round().astype(int))
    size = np.array([tracks.width, tracks.height] * 2) / 1000
    boxes = {
        track.object_id: [
            None if (box := track.box_at(int(frame))) is None else (box / size).round().tolist()
            for frame in frames
        ]
        for track in tracks.tracks
    }
    boxes = {number: [b and [int(v) for v in b] for b in row] for number, row in boxes.items()}
    times = tracks.frame_times[frames].round(3).tolist()
    return json.dumps({"times": times, "boxes": boxes}, separators=(",", ":"))


def there_is(tracks: Tracks) -> str:
    """Such as `6 x person, 1 x car`, the most frequent kind first."""
    kinds = Counter(track.class_name or "object" for track in tracks.tracks)
    return ", ".join(
        f"{count} \N{MULTIPLICATION SIGN} {kind}" for kind, count in kinds.most_common()
    )


def questions(notes: Notes) -> tuple[str, ...]:
    """A few descriptions that fit what was measured, of different objects."""
    found: dict[str, None] = {}
    words = {"left": "moving to the left", "right": "moving to the right"}
    for note in notes.objects:
        ways = [words[segment.word] for segment in note.motion if segment.word in words]
        name = note.class_name or "object"
        if ways:
            found.setdefault(f"the {name} {ways[0]}")
        else:
            found.setdefault(f"the biggest {name}" if note.n_of_class > 1 else f"the {name}")
    return tuple(found)[:MOST_QUESTIONS]
