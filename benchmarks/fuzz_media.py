"""Broken media by the thousand: does any of it crash, hang, leak, or raise what is not ours?

    nice -n 19 python -m benchmarks.fuzz_media --n 10000 --seed 0
    python -m benchmarks.fuzz_media --only 4711 --seed 0 --keep DIR     # one of them again

Small videos of many containers and codecs are made here and damaged in their header, their index
or anywhere. Each is opened and streamed to its end in a child process; what kills the child, or
takes longer than `LIMIT_SECONDS`, is counted, and the next file gets a new child. Everything
follows from the seed and the file's number.
"""

from __future__ import annotations

import argparse
import gc
import io
import multiprocessing
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_SECONDS = 10.0
N_FRAMES = 24
WIDTH, HEIGHT = 96, 64
_X265 = {"x265-params": "log-level=none:keyint=8:pools=1:frame-threads=1"}
ENCODED: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "h264.mp4": ("mp4", "libx264", "yuv420p", {"g": "8", "bf": "2"}),
    "h264.mkv": ("matroska", "libx264", "yuv420p", {"g": "8"}),
    "h264.ts": ("mpegts", "libx264", "yuv420p", {"g": "8", "bf": "2"}),
    "h264.flv": ("flv", "libx264", "yuv420p", {"g": "8"}),
    "h264.h264": ("h264", "libx264", "yuv420p", {"g": "8"}),
    "interlaced.mp4": ("mp4", "libx264", "yuv420p", {"x264-params": "interlaced=1:keyint=8"}),
    "interlaced.ts": ("mpegts", "libx264", "yuv420p", {"x264-params": "interlaced=1:keyint=8"}),
    "fragments.mp4": ("mp4", "libx264", "yuv420p", {"g": "8"}),
    "turned.mov": ("mov", "libx264", "yuv420p", {"g": "8"}),
    "hevc.mp4": ("mp4", "libx265", "yuv420p", _X265),
    "hevc.ts": ("mpegts", "libx265", "yuv420p", _X265),
    "av1.mp4": ("mp4", "libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}),
    "vp8.webm": ("webm", "libvpx", "yuv420p", {"g": "8"}),
    "vp9.webm": ("webm", "libvpx-vp9", "yuv420p", {"g": "8"}),
    "vp9.ivf": ("ivf", "libvpx-vp9", "yuv420p", {"g": "8"}),
    "prores.mov": ("mov", "prores_ks", "yuv422p10le", {}),
    "qtrle.mov": ("mov", "qtrle", "argb", {}),
    "mjpeg.avi": ("avi", "mjpeg", "yuvj420p", {}),
    "mpeg4.avi": ("avi", "mpeg4", "yuv420p", {"bf": "2"}),
    "huffyuv.avi": ("avi", "huffyuv", "yuv422p", {}),
    "mpeg2.mpg": ("mpeg", "mpeg2video", "yuv420p", {"g": "8", "bf": "2"}),
    "mpeg2.mxf": ("mxf", "mpeg2video", "yuv422p", {"g": "8"}),
    "wmv2.wmv": ("asf", "wmv2", "yuv420p", {"g": "8"}),
    "ffv1.mkv": ("matroska", "ffv1", "yuv420p", {}),
    "deep.mkv": ("matroska", "libx264", "yuv420p10le", {"g": "8"}),
    "raw.y4m": ("yuv4mpegpipe", "rawvideo", "yuv420p", {}),
    "animation.gif": ("gif", "gif", "rgb8", {}),
}
BY_PILLOW = {"profile.apng": "PNG", "animation.avif": "AVIF"}
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    number: int
    kind: str
    said: str
    """`read`, `refused`, `slow`, `signal 11`, or the name of another exception."""
    seconds: float
    detail: str = ""
    resident_bytes: int = 0
    """Memory of the child afterwards."""

    @property
    def fine(self) -> bool:
        """Read, or refused in our own words."""
        return self.said in ("read", "refused")


@dataclass
class Totals:
    """The table, filled row by row."""

    said: dict[str, Counter[str]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    bad: list[Outcome] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.said.setdefault(outcome.kind, Counter())[outcome.said] += 1
        self.slowest[outcome.kind] = max(self.slowest.get(outcome.kind, 0.0), outcome.seconds)
        if not outcome.fine:
            self.bad.append(outcome)
        if outcome.resident_bytes:
            self.memory.append(outcome.resident_bytes)

    def table(self) -> str:
        """A row a kind of file, and memory in each quarter of the run."""
        kinds = sorted(self.said)
        total: Counter[str] = sum(self.said.values(), Counter())
        others = sorted(set(total) - {"read", "refused"})
        head = ["file", "n", "read", "refused", *others, "slowest s"]
        rows = [head, ["---"] * len(head)]
        slowest = {**self.slowest, "all": max(self.slowest.values(), default=0.0)}
        for kind, said in [*((kind, self.said[kind]) for kind in kinds), ("all", total)]:
            counts = [str(said[name]) for name in ("read", "refused", *others)]
            rows.append([kind, str(said.total()), *counts, f"{slowest[kind]:.1f}"])
        quarters = [part for part in np.array_split(np.array(self.memory), 4) if len(part)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        lines.append(
            "\nmemory of the children in each quarter, median MB: "
            + ", ".join(f"{np.median(part) / 1e6:.0f}" for part in quarters)
        )
        return "\n".join(lines)


def pictures() -> list[np.ndarray[Any, Any]]:
    """A square that wanders over noise: there is something in every frame."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = []
    for i in range(N_FRAMES):
        rgb = ground.copy()
        rgb[i : i + 24, 3 * i : 3 * i + 24] = (200, 40, 10 * i)
        frames.append(rgb)
    return frames


@cache
def seeds() -> dict[str, bytes]:
    """Whole files by name; a codec that this build of FFmpeg lacks is left out."""
    import av

    made = {}
    for name, (container, codec, pix_fmt, options) in ENCODED.items():
        if codec in av.codecs_available or codec == "rawvideo":
            made[name] = _encode(name, container, codec, pix_fmt, options)
    for name, kind in BY_PILLOW.items():
        made[name] = _by_pillow(kind)
    return made


def _encode(name: str, container: str, codec: str, pix_fmt: str, options: dict[str, str]) -> bytes:
    import av

    file = io.BytesIO()
    muxer = {"movflags": "frag_keyframe+empty_moov"} if name.startswith("fragments") else {}
    with av.open(file, "w", format=container, container_options=muxer) as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.options = options
        stream.codec_context.thread_count = 1
        if name.startswith("turned"):
            stream.set_display_rotation(90, hflip=True)
        sound: Any = output.add_stream("aac", rate=48_000) if container == "mp4" else None
        for rgb in pictures():
            output.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        output.mux(stream.encode())
        if sound is not None:
            quiet = np.zeros((1, 2 * 1024), np.float32)
            frame = av.AudioFrame.from_ndarray(quiet, "flt", "stereo")
            frame.rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            resampler = av.AudioResampler(sound.codec_context.format, "stereo", 48_000)
            for part in resampler.resample(frame):
                output.mux(sound.encode(part))
            output.mux(sound.encode())
    return file.getvalue()


def _by_pillow(kind: str) -> bytes:
    from PIL import Image, ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    first, *rest = [Image.fromarray(rgb) for rgb in pictures()]
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=rest, duration=40, icc_profile=profile)
    return file.getvalue()


def damaged(seed: int, number: int) -> tuple[str, bytes]:
    """File `number` of a seed: its kind, and its bytes with one to eight faults."""
    random = np.random.default_rng([seed, number])
    kinds = list(seeds())
    kind = kinds[number % len(kinds)]
    data = bytearray(seeds()[kind])
    for _ in range(min(8, int(random.geometric(0.35)))):
        place = _place(random, data)
        fault = FAULTS[int(random.integers(len(FAULTS)))]
        fault(random, data, place)
        if len(data) < 16:
            break
    return kind, bytes(data)


def _place(random: np.random.Generator, data: bytearray) -> int:
    """In the header, in the index that many containers keep last, or anywhere."""
    size = len(data)
    region = random.integers(3)
    if region == 0:
        return int(random.integers(min(size, 1200)))
    if region == 1:
        return size - 1 - int(random.integers(min(size, 1600)))
    return int(random.integers(size))


def _bit(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place] ^= 1 << int(random.integers(8))


def _byte(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place] = int(random.integers(256))


def _number(random: np.random.Generator, data: bytearray, place: int) -> None:
    value = INTERESTING[int(random.integers(len(INTERESTING)))]
    order = "big" if random.integers(2) else "little"
    data[place : place + 4] = value.to_bytes(4, order)


def _zeros(random: np.random.Generator, data: bytearray, place: int) -> None:
    length = int(random.integers(1, 400))
    data[place : place + length] = bytes(len(data[place : place + length]))


def _noise(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place : place + 64] = random.bytes(len(data[place : place + 64]))


def _cut_out(random: np.random.Generator, data: bytearray, place: int) -> None:
    del data[place : place + int(random.integers(1, 200))]


def _twice(random: np.random.Generator, data: bytearray, place: int) -> None:
    data[place:place] = data[place : place + int(random.integers(1, 400))]


def _cut_off(random: np.random.Generator, data: bytearray, place: int) -> None:
    if random.integers(4) == 0:  # Seldom, since little is left to read.
        del data[max(16, place) :]


def _moved(random: np.random.Generator, data: bytearray, place: int) -> None:
    other = int(random.integers(len(data)))
    data[place : place + 100] = data[other : other + 100]


FAULTS: tuple[Callable[[np.random.Generator, bytearray, int], None], ...] = (
    *(_bit, _bit, _byte, _byte, _number, _number),
    *(_zeros, _noise, _cut_out, _twice, _cut_off, _moved),
)


def read(seed: int, number: int) -> Outcome:
    """Open and stream one file in this process."""
    from stvg_r1_hub.errors import VideoError
    from stvg_r1_hub.video import open_video

    kind, data = damaged(seed, number)
    started = time.perf_counter()
    said, detail = "read", ""
    try:
        with open_video(data) as source:
            for _ in source.stream():
                pass
    except VideoError as error:
        said, detail = "refused", str(error)
    except Exception as error:
        said = type(error).__name__
        detail = "".join(traceback.format_exception(error)[-3:])
    seconds = time.perf_counter() - started
    gc.collect()  # What a decoder has broken can come out here.
    return Outcome(number, kind, said, seconds, detail, _resident_bytes())


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # Not Linux: the most it ever had.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


def _child(connection: Connection, seed: int) -> None:
    """Read the numbers that come in, until None does."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Decoders' own complaints.
    while (number := connection.recv()) is not None:
        connection.send(read(seed, number))


class Child:
    """A process that reads files, and is replaced when one of them kills it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_child, args=(other, self._seed), daemon=True)
        self._process.start()
        other.close()
        self._fresh = True

    def read(self, number: int) -> Outcome:
        """What becomes of a file, whatever it does to the child."""
        started = time.perf_counter()
        patience = LIMIT_SECONDS + (60.0 if self._fresh else 0.0)  # The first makes the seeds.
        self._fresh = False
        try:
            self._connection.send(number)
            if self._connection.poll(patience):
                outcome: Outcome = self._connection.recv()
                return outcome
            said = "slow"
        except (EOFError, BrokenPipeError):
            self._process.join()
            said = f"signal {-(self._process.exitcode or 0)}"
        self.close()
        self._start()
        kind, _ = damaged(self._seed, number)
        return Outcome(number, kind, said, time.perf_counter() - started)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def fuzz(n: int, seed: int, first: int = 0) -> Iterator[Outcome]:
    """Read files `first` to `first + n - 1` of a seed, each in a child."""
    child = Child(seed)
    try:
        for number in range(first, first + n):
            yield child.read(number)
    finally:
        child.close()


def main() -> int:
    """Print the table; 1 when something was not fine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this one alone")
    parser.add_argument("--keep", type=Path, help="folder for the files that were not fine")
    options = parser.parse_args()
    totals = Totals()
    alone = options.only is not None
    first, n = (options.only, 1) if alone else (0, options.n)
    for outcome in fuzz(n, options.seed, first):
        totals.add(outcome)
        if alone or not outcome.fine:
            print(outcome.number, outcome.kind, outcome.said, outcome.detail, flush=True)
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                kept = options.keep / f"{outcome.number}-{outcome.kind}"
                kept.write_bytes(damaged(options.seed, outcome.number)[1])
        if (outcome.number + 1) % 500 == 0:
            print(f"{outcome.number + 1} of {n}", file=sys.stderr, flush=True)
    print(totals.table())
    return int(bool(totals.bad))


if __name__ == "__main__":
    sys.exit(main())
