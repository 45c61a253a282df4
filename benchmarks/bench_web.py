"""The page under load: start, one visit step by step, later answers, then many users at once.

    python -m benchmarks.bench_web [--users 8] [--minutes 5]
    python -m benchmarks.bench_web --minutes 0    # without the users

The visit, of the bundled street of 8 s, has the seconds of the clock and of the processor, since on
a busy machine the first mean nothing; the machine's load is printed with them. What the page weighs
beside gradio's own files is its HTML, compressed as browsers take it, and the examples' videos.

Starts `stvg app` with the bundled model as its own process and asks it through `gradio_client`:
every user has one visit and a video of their own, and every answer is held against the one that
the package gives for that video. (The server remembers up to 300 visits, about 0.12 MB each; a new
visit for every question would measure that.) Of every wait it is counted how many answers others
got meanwhile: in a fair line as many as there are others, however slow the machine; more, and this
visitor was forgotten or overtaken. Needs the extra `app`, and psutil.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.examples import bundled_examples, find_example
from stvg_r1_hub.sprites.clips import clip_scene, write_clip
from stvg_r1_hub.video import open_video, write_video
from stvg_r1_hub.web.correcting import correct
from stvg_r1_hub.web.grounding import Grounder
from stvg_r1_hub.web.limits import Limits
from stvg_r1_hub.web.models import ModelRegistry, Settings

QUERY = "the dog jumping"
FIELDS = ("found", "object_ids", "start_seconds", "end_seconds", "raw_text")
FLAT = 0.02
LEAST_ANSWERS = 30
"""Memory is flat when it grows by no more than this share over so many answers."""


def doubled(path: Path, target: Path) -> None:
    """The clip twice in a row, about 8 s of video."""
    with open_video(path) as source:
        frames = [frame.pixels for frame in source.stream()]
        times, duration = source.info.frame_times, source.info.duration_seconds
    write_video(
        target,
        iter([*frames, *frames]),
        np.concatenate([times, times + duration]).tolist(),
        duration_seconds=2 * duration,
    )


def wanted_of(path: Path, pipeline: STVGPipeline) -> dict[str, Any]:
    values = pipeline(QUERY, path).to_dict()
    return {name: values[name] for name in FIELDS}


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str, float]:
    """The server, its address, and the seconds until the page answered."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stvg_r1_hub.cli", "app", "--model", "tiny"]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "gradio")}
    started = time.perf_counter()
    server = subprocess.Popen(
        [*command, "--port", str(port)], env=environment, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/"
    while True:
        if server.poll() is not None:
            sys.exit("The server ended before the page answered.")
        try:
            urllib.request.urlopen(url, timeout=60).read()
            return server, url, time.perf_counter() - started
        except OSError:
            time.sleep(0.05)


class User(threading.Thread):
    """Asks about one video again and again."""

    def __init__(self, url: str, path: Path, wanted: dict[str, Any], until: float) -> None:
        super().__init__()
        self.url, self.path, self.wanted, self.until = url, path, wanted, until
        self.waits: list[tuple[float, float]] = []
        """When each question that was answered was asked, and when its answer came."""
        self.wrong: list[str] = []

    def run(self) -> None:
        from gradio_client import Client

        with tempfile.TemporaryDirectory() as folder:
            client = Client(self.url, verbose=False, download_files=folder)
            self.ask(client)
            while time.monotonic() < self.until:
                self.ask(client)
            client.close()

    def ask(self, client: Any) -> None:
        from gradio_client import handle_file

        started = time.monotonic()
        try:
            (values,), _ = client.predict(
                video=handle_file(str(self.path)), queries=QUERY, api_name="/ground"
            )
        except Exception as error:  # Whatever fails is a finding of the benchmark.
            self.wrong.append(repr(error))
            return
        self.waits.append((started, time.monotonic()))
        if {name: values[name] for name in FIELDS} != self.wanted:
            self.wrong.append(f"{self.path.name}: {values['raw_text']}")

    @property
    def seconds(self) -> list[float]:
        return [end - start for start, end in self.waits]


def most_answers_meanwhile(users: list[User]) -> int:
    """The most answers that others got while one visitor waited for one."""
    ends = [(end, user) for user in users for _, end in user.waits]
    return max(
        sum(1 for at, other in ends if other is not user and start < at < end)
        for user in users
        for start, end in user.waits
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=5.0)
    options = parser.parse_args()
    pipeline = STVGPipeline.from_pretrained("tiny")
    print("| what | measured | wanted |\n|---|---|---|")
    visit()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [folder / f"clip-{i}.mp4" for i in range(options.users)]
        for i, clip in enumerate(clips):
            write_clip(clip_scene("easy", 31, i), clip)
        eight = folder / "eight.mp4"
        doubled(clips[0], eight)
        wanted = [wanted_of(clip, pipeline) for clip in clips]
        eight_wanted = wanted_of(eight, pipeline)
        server, url, page_seconds = start(folder)
        try:
            print(
                f"| page beside gradio's own files | {page_bytes(url) / 1e6:.2f} MB | <= 1.5 MB |"
            )
            print(f"| page answers after the start | {page_seconds:.1f} s | <= 20 s |")
            alone = User(url, eight, eight_wanted, 0.0)
            alone.run()
            if not alone.seconds:
                sys.exit(f"The first question failed: {alone.wrong}")
            print(f"| first answer, 8 s clip | {alone.seconds[0]:.1f} s | <= 30 s |")
            for _ in range(5):
                alone.run()
            later = statistics.median(alone.seconds[1:])
            print(f"| later answers, 8 s clip | {later:.1f} s | <= 10 s |", flush=True)
            if options.minutes:
                load(url, server, clips, wanted, options.minutes, alone.wrong)
        finally:
            server.terminate()
            server.wait()


def visit() -> None:
    """A question and a correction as the page works them out, once the model is loaded."""
    registry = ModelRegistry(["tiny"], device="cpu")
    example = find_example("street")
    steps: list[tuple[str, float, float]] = []
    made: list[Any] = []

    def note(what: str) -> None:
        steps.append((what, time.perf_counter(), time.process_time()))

    def arrived(one: Any) -> None:
        made.append(one)
        note("objects after the upload, 8 s clip" if len(made) == 1 else "first answer after them")

    with tempfile.TemporaryDirectory() as folder:
        # Other words than the example's, whose answer is kept.
        query = f"{example.query} "
        grounder = Grounder(registry, Limits(), Path(folder))
        pipeline, _ = registry.pipeline(Settings("tiny"))
        pipeline(query, find_example("demo").clip, progress=False)
        note("")
        grounder.ground(example.clip, [query], Settings("tiny"), lambda *step: None, arrived)
        seen, answer = made
        note("")
        other = next(i for i in (1, 2) if [i] != answer.values["object_ids"])
        correct(seen, answer, other)
        note("a correction")
    wanted = iter(("<= 4 s", "<= 2 s", "<= 1 s"))
    for (_, clock, processor), (what, later, used) in pairwise(steps):
        if what:
            shown = f"{later - clock:.1f} s, {used - processor:.1f} of the processor"
            print(f"| {what} | {shown} | {next(wanted)} |")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"| load of the machine, {os.cpu_count()} cores | {load} | |", flush=True)


def page_bytes(url: str) -> int:
    """What a visitor's browser gets of ours before anything is asked."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=60) as page:
        html = len(page.read())
    return html + sum(path.stat().st_size for path in {clip for _, clip, _ in bundled_examples()})


class Memory(threading.Thread):
    """The server's memory, twice a second, with the answers given until then."""

    def __init__(self, server: subprocess.Popen[bytes], users: list[User]) -> None:
        super().__init__(daemon=True)
        self.process, self.users = psutil.Process(server.pid), users
        self.samples: list[tuple[int, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.5):
            answers = sum(len(user.seconds) for user in self.users)
            self.samples.append((answers, self.process.memory_info().rss / 1e6))

    def quarters(self) -> list[tuple[int, float]]:
        """Of each quarter of the answers: how many it holds, and the median memory in MB."""
        total = self.samples[-1][0]
        found = []
        for i in range(4):
            first, last = total * i // 4, total * (i + 1) // 4
            inside = [mb for answers, mb in self.samples if first < answers <= last or last == 0]
            found.append((last - first, statistics.median(inside) if inside else float("nan")))
        return found


def verdict(quarters: list[tuple[int, float]]) -> str:
    """Whether memory is flat. The first quarter is warm-up: caches fill, pools grow."""
    between = quarters[2][0] + quarters[3][0]
    if between < LEAST_ANSWERS:
        return f"cannot tell from {between} answers"
    growth = quarters[3][1] / quarters[1][1] - 1
    return f"{'flat' if growth <= FLAT else 'GROWS'} ({growth:+.1%})"


def load(
    url: str,
    server: subprocess.Popen[bytes],
    clips: list[Path],
    wanted: list[dict[str, Any]],
    minutes: float,
    wrong: list[str],
) -> None:
    """All users at once, while the server's memory is watched."""
    until = time.monotonic() + 60 * minutes
    users = [User(url, *pair, until) for pair in zip(clips, wanted, strict=True)]
    memory = Memory(server, users)
    for thread in (*users, memory):
        thread.start()
    for user in users:
        user.join()
    memory.done.set()
    memory.join()
    seconds = [value for user in users for value in user.seconds]
    wrong = [*wrong, *(text for user in users for text in user.wrong)]
    print(f"| {len(users)} users for {minutes:g} min: answers | {len(seconds)} | |")
    print(f"| wrong, crossed or failed | {len(wrong)} | 0 |")
    middle, slow = statistics.median(seconds), max(seconds)
    print(f"| seconds a visitor waits, median and longest | {middle:.1f}, {slow:.1f} | |")
    meanwhile = most_answers_meanwhile(users)
    print(f"| most answers to others during one wait | {meanwhile} | about {len(users) - 1} |")
    quarters = memory.quarters()
    shown = ", ".join(f"{mb:.0f}" for _, mb in quarters)
    print(f"| server memory in each quarter of the answers, median MB | {shown} | |")
    rule = f"last quarter <= second + {FLAT:.0%}, {LEAST_ANSWERS} answers apart or more"
    print(f"| memory | {verdict(quarters)} | flat: {rule} |")
    for text in wrong[:5]:
        print(f"wrong: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
