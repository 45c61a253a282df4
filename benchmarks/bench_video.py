"""Reading the language model's sample against decoding every frame, and memory over duration.

    python -m benchmarks.bench_video                  # makes its own 60 s 1080p clip
    python -m benchmarks.bench_video --video my.mp4

Every way runs in a process of its own, so that its peak memory is its own; times are the best
of three. CPU seconds tell more than seconds when the machine has other work.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WAYS = {
    "every frame to RGB, PyAV defaults": "all_default",
    "every frame to RGB, PyAV with threads": "all_threads",
    "the sample (2 fps), streamed": "sample_stream",
    "the sample (2 fps), kept: read_frames": "sample",
    "every frame, VideoSource.stream": "stream",
}


def make_clip(path: Path, seconds: int, width: int, height: int, key_frames: int) -> None:
    """A textured background that pans, with moving blocks and some noise, 30 fps H.264."""
    import av

    random = np.random.default_rng(0)
    coarse = random.integers(40, 216, (height // 8, width // 4, 3), dtype=np.uint8)
    texture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    noise = random.integers(0, 12, (4, height, width, 1), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "g": str(key_frames)}
        for i in range(seconds * 30):
            x = i * 2 % (texture.shape[1] - width)
            rgb = texture[:, x : x + width] + noise[i % 4]
            for block in range(6):
                left = (i * (3 + block) + block * 211) % (width - 160)
                top = (i * 2 + block * 157) % (height - 160)
                rgb[top : top + 160, left : left + 160] = (220, 30 * block, 60)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


def run(way: str, video: str) -> int:
    """Read the video in one way; the number of RGB frames."""
    if way in ("all_default", "all_threads"):
        import av

        with av.open(video) as container:
            if way == "all_threads":
                container.streams.video[0].thread_type = "AUTO"
            return sum(
                f.to_ndarray(format="rgb24").shape[2] == 3 for f in container.decode(video=0)
            )
    from stvg_r1_hub.config import SamplingConfig
    from stvg_r1_hub.video import open_video, plan_for, read_frames

    if way == "sample":
        return len(read_frames(video, SamplingConfig()))
    with open_video(video) as source:
        wanted = None
        if way == "sample_stream":
            wanted = plan_for(source.info, SamplingConfig()).frame_indices
        return sum(1 for _ in source.stream(wanted))


def measure(way: str, video: str, repeats: int) -> dict[str, float]:
    """Best seconds, peak MiB and frames of one way, in a new process."""
    command = [sys.executable, __file__, "--video", video, "--way", way, "--repeats", str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", help="measure this file; default: clips made here")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        best = best_cpu = float("inf")
        for _ in range(arguments.repeats):
            started, started_cpu = time.perf_counter(), time.process_time()
            frames = run(arguments.way, arguments.video)
            best = min(best, time.perf_counter() - started)
            best_cpu = min(best_cpu, time.process_time() - started_cpu)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {"seconds": best, "cpu": best_cpu, "peak_mib": peak, "frames": frames}
        print(json.dumps(row))
        return
    with tempfile.TemporaryDirectory() as folder:
        clips = {}
        if arguments.video:
            clips[Path(arguments.video).name] = arguments.video
        else:
            for key_frames in (250, 30):
                path = Path(folder) / f"key{key_frames}.mp4"
                make_clip(path, arguments.seconds, 1920, 1080, key_frames)
                clips[f"{arguments.seconds} s 1080p, key frame every {key_frames}"] = str(path)
        for title, video in clips.items():
            print(
                f"\n{title}\n{'way':40} {'frames':>6} {'seconds':>8} {'CPU s':>7} "
                f"{'peak MiB':>9} {'speed':>7}"
            )
            base = None
            for name, way in WAYS.items():
                got = measure(way, video, arguments.repeats)
                base = base or got["seconds"]
                print(
                    f"{name:40} {got['frames']:6.0f} {got['seconds']:8.2f} {got['cpu']:7.2f} "
                    f"{got['peak_mib']:9.0f} {base / got['seconds']:6.2f}x"
                )


if __name__ == "__main__":
    main()
