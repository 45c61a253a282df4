"""The objects of a video as HTML: a list to click on, and their boxes for clicks in the picture."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from stvg_r1_hub.structures import Notes, Pixels, Tracks
from stvg_r1_hub.visual.drawing import css_color

MOST_MOMENTS = 150
"""At so many moments, spread over the video, a click finds the object under it."""
MOST_QUESTIONS = 4


def object_list(tracks: Tracks, notes: Sequence[str], pictures: Mapping[int, Pixels]) -> str:
    """Every object as a button that makes it the answer.

    Args:
        tracks: all objects.
        notes: a line an object, as `Notes.lines`.
        pictures: of `visual.pictures.object_pictures`.
    """
    if not len(tracks):
        return ""
    lines = {int(line.split(" ", 1)[0]): line.partition(": ")[2] for line in notes}
    items = []
    for track in sorted(tracks.tracks, key=lambda t: t.object_id):
        name = f"{track.object_id} {track.class_name}".strip()
        picture = pictures.get(track.object_id)
        image = "" if picture is None else f'<img alt="" src="{_jpeg(picture)}">'
        items.append(
            f'<li><button type="button" class="stvg-object" data-pick="{track.object_id}" '
            f'style="--object:{css_color(track.object_id)}">'
            f"<i>{image}</i><span><strong>{escape(name)}</strong> "
            f"<small>{escape(lines.get(track.object_id, ''))}</small></span></button></li>"
        )
    return (
        f"<section class=\"stvg-objects\" data-boxes='{_moments(tracks)}'>"
        f"<h2>What there is: {escape(there_is(tracks))}</h2>"
        '<p class="stvg-note">To make an object the answer, choose it: here, by its number '
        "in the timeline, or by a double click in the video.</p>"
        f"<ul>{''.join(items)}</ul></section>"
    )


def _jpeg(pixels: Pixels) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


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
