"""What a server can do: which inputs it takes, and a round trip with a clip whose answer is known.

Three equal squares carry the numbers 3, 5 and 8. Nothing but its number tells the one that moves
from the others, so a right answer was read from the picture; and it stands still before and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stvg_r1_hub.errors import STVGError
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Pixels, Track, Tracks
from stvg_r1_hub.tracking.precomputed import GivenTracks
from stvg_r1_hub.video import open_video
from stvg_r1_hub.vlm.server import INPUTS, ServerVLM

LEFT, MOVING, RIGHT = 3, 5, 8
MOVES = (2.0, 5.0)
"""Seconds between which the square in the middle moves."""
QUESTIONS = {
    "the square that moves": MOVING,
    "the square that stands still on the left": LEFT,
    "the square that stands still on the right": RIGHT,
}
_FPS, _SECONDS, _WIDTH, _HEIGHT, _SIDE = 8, 8, 640, 360, 100
_LEAST_OVERLAP = 0.5
"""Of the answered time with the true one, over both together: half a second off is near enough."""


def drawn_clip() -> tuple[Pixels, Tracks]:
    """The clip, `(T, H, W, 3)` uint8 RGB, and where its squares are."""
    times = np.arange(_FPS * _SECONDS) / _FPS
    start, end = MOVES
    path = np.clip((times - start) / (end - start), 0, 1) * (_HEIGHT - _SIDE - 40) + 20
    pixels = np.full((len(times), _HEIGHT, _WIDTH, 3), (205, 205, 195), np.uint8)
    tracks = []
    for number, left in ((LEFT, 50), (MOVING, 270), (RIGHT, 490)):
        tops = path if number == MOVING else np.full(len(times), 130.0)
        boxes = np.stack([np.array([left, top, left + _SIDE, top + _SIDE]) for top in tops])
        for picture, (x1, y1, x2, y2) in zip(pixels, boxes.round().astype(int), strict=True):
            picture[y1:y2, x1:x2] = (70, 90, 120)
        frames, still = np.arange(len(times)), np.zeros(len(times), bool)
        tracks.append(Track(number, "square", 1.0, frames, boxes.astype(np.float32), still))
    return pixels, Tracks(_WIDTH, _HEIGHT, times, tuple(tracks))


def check_server(url: str, model: str) -> Iterator[tuple[str, str, bool]]:
    """What each input of a server does, a row as soon as it is known.

    Args:
        url: of the server.
        model: whose settings are used, as for `STVGPipeline.from_pretrained`.

    Yields:
        The row's name, what was seen, and whether numbers were read.

    Raises:
        STVGError: the server cannot be asked at all.
    """
    seen = ServerVLM.from_environment(url)
    found = seen.server
    software = " ".join(filter(None, (found.software or "does not say what it is", found.version)))
    yield "software", software, False
    yield "models", ", ".join(found.models) or "no list", False
    said: set[str] = set()
    pixels, tracks = drawn_clip()
    for way in INPUTS:
        vlm = ServerVLM.from_environment(url, input=way)
        pipeline = STVGPipeline.from_pretrained(model, vlm=vlm, tracker=GivenTracks(tracks))
        try:
            with open_video(pixels, fps=_FPS) as source:
                results = pipeline(list(QUESTIONS), source, progress=False)
        except STVGError as error:
            if str(error) not in said:  # A web page is none in each of the ways.
                yield way, f"no: {error}", False
            said.add(str(error))
            continue
        reads, remark = _verdict(results)
        taken = f"takes {vlm.taken}; " if way == "auto" else ""
        yield way, taken + remark, reads


def _verdict(results: list[GroundingResult]) -> tuple[bool, str]:
    """Whether the numbers were read, and that with the time in words."""
    wrong = [
        f"{query!r} is {expected}, not {', '.join(map(str, result.object_ids)) or 'none'}"
        for result, (query, expected) in zip(results, QUESTIONS.items(), strict=True)
        if result.object_ids != (expected,)
    ]
    start, end = results[0].start_seconds or 0.0, results[0].end_seconds or 0.0
    shared = min(end, MOVES[1]) - max(start, MOVES[0])
    tells_time = shared >= _LEAST_OVERLAP * (max(end, MOVES[1]) - min(start, MOVES[0]))
    told = f"{start:.1f} to {end:.1f} s" if results[0].found else "none"
    answered = f"no ({told} instead of {MOVES[0]:.1f} to {MOVES[1]:.1f} s)"
    each = max(result.timings["answer"] for result in results) / len(results)
    return not wrong, (
        f"reads numbers: {'no (' + '; '.join(wrong) + ')' if wrong else 'yes'}, "
        f"tells time: {'yes' if tells_time else answered}, {each:.1f} s a question"
    )
