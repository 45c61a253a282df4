"""An answer as HTML for a notebook: a line of text, key frames, a timeline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from stvg_r1_hub.structures import Pixels, Track, Tracks, Tube
from stvg_r1_hub.visual.drawing import object_color
from stvg_r1_hub.visual.pictures import stretches, timeline_end, timeline_rows

_QUALITY = 75
_MOST_ROWS = 10
_ROW, _LABELS, _WIDTH = 18, 120, 720
"""Height of a row, width of its label and of the whole timeline, in pixels."""


def answer_html(
    query: str,
    answer: str,
    *,
    pictures: Sequence[Pixels],
    tracks: Tracks | None,
    tube: Tube | None,
    warnings: Sequence[str],
) -> str:
    """A block of HTML that needs nothing from elsewhere; everything in it is escaped.

    Args:
        query: what was asked.
        answer: what was found, in words.
        pictures: key frames, each `(H, W, 3)` uint8 RGB.
        tracks: the objects for the timeline; None leaves it out.
        tube: the answer, or None when nothing was found.
        warnings: sentences shown below.
    """
    images = "".join(
        f'<img style="height:170px;margin:0 6px 6px 0" alt="key frame {i}" '
        f'src="data:image/webp;base64,{_encoded(picture)}">'
        for i, picture in enumerate(pictures, start=1)
    )
    notes = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return (
        f'<div style="max-width:900px"><p><b>“{escape(query)}”</b><br>{escape(answer)}</p>'
        f'<div style="display:flex;flex-wrap:wrap">{images}</div>'
        f"{_timeline(tracks, tube) if tracks is not None and len(tracks) else ''}"
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def _encoded(picture: Pixels) -> str:
    done, data = cv2.imencode(
        ".webp", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    )
    assert done
    return base64.b64encode(data.tobytes()).decode("ascii")


def _timeline(tracks: Tracks, tube: Tube | None) -> str:
    """When each object is visible, as SVG in the colours of the page around it."""
    answered = tube.object_ids if tube else ()
    rows = timeline_rows(tracks, answered, _MOST_ROWS)
    end = timeline_end(tracks, tube)
    scale = (_WIDTH - _LABELS - 10) / end
    height = _ROW * (len(rows) + 1)
    shades = [
        f'<rect x="{_LABELS + start * scale:.1f}" y="0" width="{(stop - start) * scale:.1f}" '
        f'height="{height - _ROW}" fill="currentColor" opacity="0.13"/>'
        for start, stop in (tube.ranges if tube else ())
    ]
    bars = [
        _bars(track, i * _ROW, tracks, scale, track.object_id in answered)
        for i, track in enumerate(rows)
    ]
    hidden = len(tracks) - len(rows)
    more = f"{hidden} more objects" if hidden else ""
    legend = [(0, "start", more), (_LABELS, "start", "0 s"), (_WIDTH - 10, "end", f"{end:.2f} s")]
    texts = [
        f'<text x="{x}" y="{height - 4}" text-anchor="{anchor}">{text}</text>'
        for x, anchor, text in legend
    ]
    return (
        f'<svg role="img" aria-label="timeline" viewBox="0 0 {_WIDTH} {height}" '
        f'style="width:100%;max-width:{_WIDTH}px" font-size="12" fill="currentColor">'
        f"{''.join([*shades, *bars, *texts])}</svg>"
    )


def _bars(track: Track, top: int, tracks: Tracks, scale: float, answered: bool) -> str:
    color = f"rgb{object_color(track.object_id)}"
    label = escape(f"{track.object_id} {track.class_name}"[:18].strip())
    weight = ' font-weight="bold"' if answered else ""
    bars = "".join(
        f'<rect x="{_LABELS + start * scale:.1f}" y="{top + 4}" '
        f'width="{max(1.0, length * scale):.1f}" height="{_ROW - 7}" rx="2" fill="{color}" '
        f'opacity="{1 if answered else 0.45}"/>'
        for start, length in stretches(track, tracks.frame_times)
    )
    return f'<text x="0" y="{top + 13}"{weight}>{label}</text>{bars}'
