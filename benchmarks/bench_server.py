"""What is left of the numbers at a server, and whether a model answers the same through one.

    HF_HUB_OFFLINE=0 python -m benchmarks.bench_server --n 50

The server is the tests' own (`tests/vlm/stand_in.py`): it reads a video and a list of frames as
vLLM does, and images as others do. First table: for every input, how far the pixels of the numbers
drawn on the bundled street are from those that the local model sees, in levels of 255, and their
redness (red less the larger of green and blue). Second: the bundled vision-language model, without
its notes, in this process and behind that server, on easy sprite clips with true tracks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.evaluation.benchmarks.sprites import read_sprites, render_missing, true_tracker
from stvg_r1_hub.examples import find_example
from stvg_r1_hub.hub import load_bundle
from stvg_r1_hub.structures import MarkedFrames, Pixels
from stvg_r1_hub.video import open_video
from stvg_r1_hub.vlm.local import LocalVLM
from stvg_r1_hub.vlm.resizing import model_frames, resized
from stvg_r1_hub.vlm.server import ServerVLM
from stvg_r1_hub.vlm.server.inputs import prepare
from tests.vlm.stand_in import answering, seen_in, serving

SEED = 9300
WAYS = ("video", "full-size video", "frames", "images")
_MARKED = 60
"""Levels by which a pixel changes where a number is drawn on it."""


def at_server(marked: MarkedFrames, way: str) -> Pixels:
    """The sample as a server's model sees it, at the model's size."""
    frames = marked.frames
    sent = prepare(way, frames, model="", most_images=len(frames))
    message = {"content": [{"type": "text", "text": ""}, *sent.parts]}
    pixels = seen_in({"messages": [message], **sent.fields}).pixels
    return resized(pixels, frames.model_height, frames.model_width)


def marker_errors(plain: Pixels, local: Pixels, far: Pixels) -> dict[str, float]:
    """How far the numbers' pixels moved: mean, 99th of 100, and the mean redness before and after.

    Args:
        plain: `(T, H, W, 3)` uint8 RGB without numbers.
        local: the same with numbers, as the local model sees them.
        far: as the server does.
    """
    here = np.abs(local.astype(int) - plain).max(axis=-1) > _MARKED
    moved = np.abs(far.astype(int) - local)[here]

    def redness(pixels: Pixels) -> float:
        values = pixels[here].astype(int)
        return float((values[:, 0] - values[:, 1:].max(axis=1)).mean())

    return {
        "mean": float(moved.mean()),
        "p99": float(np.percentile(moved, 99)),
        "redness here": redness(local),
        "redness there": redness(far),
    }


def street() -> tuple[Pixels, MarkedFrames]:
    """The bundled street by the official settings, without numbers and with them."""
    pipeline = STVGPipeline.from_pretrained("zero-shot", vlm=ServerVLM("http://nowhere"))
    pipeline = pipeline.replace(config=STVGConfig())
    with open_video(find_example("street").clip) as source:
        frames, tracks = pipeline.read(source)
    return model_frames(frames), pipeline.mark(frames, tracks)


def same_answers(n: int, ways: tuple[str, ...]) -> Iterator[tuple[int, dict[str, bool], str]]:
    """For every clip whether the texts are equal, by input, and the text in this process."""
    bundle = load_bundle("tiny")
    config = replace(bundle.config, reads_notes=False)
    model = LocalVLM.from_pretrained(bundle.folder, config=config)
    with tempfile.TemporaryDirectory() as folder, serving(answering(model)) as server:
        samples = read_sprites("easy", SEED, n, Path(folder))
        render_missing(samples)
        for number, sample in enumerate(samples):
            pipeline = STVGPipeline(config, true_tracker(sample), model)
            here = pipeline(sample.query, sample.video).raw_text
            equal = {}
            for way in ways:
                through = pipeline.replace(vlm=ServerVLM(server.url, input=way))
                equal[way] = through(sample.query, sample.video).raw_text == here
            yield number, equal, here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="clips (default: 50)")
    n = parser.parse_args().n
    plain, marked = street()
    local = model_frames(marked.frames)
    print("| input | mean | p99 | redness here | redness there |\n|---|---|---|---|---|")
    for way in WAYS:
        values = marker_errors(plain, local, at_server(marked, way))
        print(f"| {way} | " + " | ".join(f"{value:.1f}" for value in values.values()) + " |")
    counts = dict.fromkeys(("video", "frames", "images"), 0)
    for number, equal, here in same_answers(n, tuple(counts)):
        for way, is_equal in equal.items():
            counts[way] += is_equal
            if not is_equal:
                print(f"clip {number}, {way}: another answer than {here[-60:]!r}")
    print("same answers:", ", ".join(f"{way} {count} of {n}" for way, count in counts.items()))


if __name__ == "__main__":
    main()
