"""Right person and tube on real clips, with queries that follow from ground-truth trajectories.

    python -m benchmarks.bench_real VIDEO GT.txt [--model tiny] [--prompt-id ID] [--cache FOLDER]

Ground truth is MOTChallenge's `frame (1-based), id, left, top, width, height, ...`, a line a box,
of people. The part of the video that it covers is cut into overlapping clips of 4 to 10 seconds,
each also mirrored; `motion_queries.py` says what is asked about them. Each clip is asked about as
`stvg ground` does by default and, in a second row, has the true tracks given, so that reading and
tracking are told apart. The right person is the track with the highest mean IoU over the person's
boxes, at least 0.3. Chance is the mean over the clip's tracks of people, each through the clip.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.motion_queries import MotionQuery, Trajectory, motion_queries
from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.evaluation.metrics import best_track, temporal_iou, tube_iou
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Track, Tracks, VideoInfo
from stvg_r1_hub.tracking import GivenTracks
from stvg_r1_hub.video import open_video, write_video

STEP_SECONDS = 0.5
LENGTHS = (4, 5, 4, 6, 5, 7, 4, 8, 5, 10)
MATCHED = 0.3


@dataclass(frozen=True)
class RealClip:
    """A part of the video, with who is in it; frames and boxes count from its start."""

    first_frame: int
    n_frames: int
    mirrored: bool
    people: list[Trajectory]
    queries: list[MotionQuery]


def read_people(path: Path) -> dict[int, dict[int, list[float]]]:
    """Person -> 0-based frame -> xyxy."""
    people: dict[int, dict[int, list[float]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        frame, person, left, top, width, height = (float(v) for v in line.split(",")[:6])
        box = [left - 1, top - 1, left - 1 + width, top - 1 + height]
        people.setdefault(int(person), {})[int(frame) - 1] = box
    return people


def cut(people: dict[int, dict[int, list[float]]], fps: float, width: int) -> list[RealClip]:
    """Overlapping clips in which there is something to ask, and their mirror images."""
    total = 1 + max(frame for boxes in people.values() for frame in boxes)
    clips = []
    for i, first in enumerate(range(0, total, round(STEP_SECONDS * fps))):
        count = round(LENGTHS[i % len(LENGTHS)] * fps)
        if first + count > total:
            continue
        there = [
            trajectory
            for person, boxes in people.items()
            if (trajectory := part_of(person, boxes, first, count)) is not None
        ]
        across = np.array([width, 0, width, 0])
        flipped = [
            replace(t, boxes=across + t.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]) for t in there
        ]
        for mirrored, seen in ((False, there), (True, flipped)):
            queries = motion_queries(seen, fps)
            if queries:
                clips.append(RealClip(first, count, mirrored, seen, queries))
    return clips


def part_of(
    person: int, boxes: dict[int, list[float]], first: int, count: int
) -> Trajectory | None:
    """One person's boxes in a clip, gaps filled in between."""
    frames = sorted(f for f in boxes if first <= f < first + count)
    if not frames:
        return None
    every = np.arange(frames[0], frames[-1] + 1)
    known = np.array([boxes[f] for f in frames])
    filled = np.stack([np.interp(every, frames, known[:, k]) for k in range(4)], axis=1)
    return Trajectory(person, frames[0] - first, filled)


def true_tracks(clip: RealClip, info: VideoInfo) -> Tracks:
    """The people as a perfect tracker would report them."""
    ordered = sorted(clip.people, key=lambda p: p.first_frame)
    tracks = tuple(
        Track(
            number,
            "person",
            1.0,
            np.arange(p.first_frame, p.first_frame + len(p.boxes)),
            p.boxes.astype(np.float32),
            np.zeros(len(p.boxes), dtype=bool),
        )
        for number, p in enumerate(ordered, start=1)
    )
    return Tracks(info.width, info.height, info.frame_times, tracks)


def truth_of(clip: RealClip, query: MotionQuery) -> dict[int, Any]:
    (person,) = (p for p in clip.people if p.person == query.person)
    frames = range(query.start_frame, query.end_frame)
    return {i: person.boxes[i - person.first_frame] for i in frames}


def right_track(clip: RealClip, query: MotionQuery, tracks: Tracks) -> int | None:
    truth = truth_of(clip, query)
    return best_track(tracks, np.array(list(truth)), list(truth.values()), minimum_iou=MATCHED)


def scores(
    clip: RealClip, query: MotionQuery, tracks: Tracks, number: int, start: float, end: float
) -> tuple[float, float, float]:
    """Right person, tIoU and vIoU of a track during a time range."""
    track = tracks.get(number)
    times = tracks.frame_times
    span = (query.start_frame * _step(times), query.end_frame * _step(times))
    predicted = {i: track.box_at(i) if track else None for i in frames_in_range(times, start, end)}
    return (
        float(number == right_track(clip, query, tracks)),
        temporal_iou((start, end), span),
        tube_iou(predicted, truth_of(clip, query)),
    )


def _step(times: Any) -> float:
    return float(times[1] - times[0])


def scored(clip: RealClip, query: MotionQuery, tracks: Tracks, result: GroundingResult) -> Any:
    if not result.found or result.start_seconds is None or result.end_seconds is None:
        return 0.0, 0.0, 0.0
    return scores(
        clip, query, tracks, result.object_ids[0], result.start_seconds, result.end_seconds
    )


def chance(clip: RealClip, query: MotionQuery, tracks: Tracks) -> Any:
    whole = (0.0, float(tracks.frame_times[-1]) + _step(tracks.frame_times))
    people = [track.object_id for track in tracks.tracks if track.class_name == "person"]
    each = [scores(clip, query, tracks, number, *whole) for number in people]
    return tuple(np.mean(each, axis=0)) if each else (0.0, 0.0, 0.0)


def frames_of(video: Path, clip: RealClip) -> Iterator[Any]:
    with open_video(video) as source:
        for frame in source.stream(range(clip.first_frame, clip.first_frame + clip.n_frames)):
            yield np.ascontiguousarray(frame.pixels[:, ::-1]) if clip.mirrored else frame.pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompt-id", help="instead of the one that the pipeline takes by itself")
    parser.add_argument("--cache", type=Path, help="folder for the clips")
    parser.add_argument("--json", type=Path, help="also write all answers there")
    args = parser.parse_args()
    with open_video(args.video) as source:
        fps, width = source.info.fps, source.info.width
    clips = cut(read_people(args.truth), fps, width)
    pipeline = STVGPipeline.from_pretrained(args.model, prompt_id=args.prompt_id)
    rows: dict[str, list[Any]] = {}
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        cache = args.cache or Path(folder)
        cache.mkdir(parents=True, exist_ok=True)
        for clip in tqdm(clips, desc="clips"):
            path = cache / f"{clip.first_frame}-{clip.n_frames}{'-m' if clip.mirrored else ''}.mp4"
            if not path.exists():
                times = [i / fps for i in range(clip.n_frames)]
                write_video(
                    path, frames_of(args.video, clip), times, duration_seconds=clip.n_frames / fps
                )
            with open_video(path) as source:
                given = true_tracks(clip, source.info)
            with_truth = pipeline.replace(tracker=GivenTracks(given))
            for name, asked in (("by default", pipeline), ("true tracks", with_truth)):
                results = asked([query.text for query in clip.queries], path)
                for query, result in zip(clip.queries, results, strict=True):
                    offered = result.tracks if result.tracks is not None else given
                    score = scored(clip, query, offered, result)
                    for row, value in (
                        (name, score),
                        (f"{name}, {query.motion}", score),
                        (f"{name}, chance", chance(clip, query, offered)),
                    ):
                        rows.setdefault(row, []).append(value)
                    answers.append(
                        {"clip": path.name, "tracks": name, "query": query.text,
                         "right": right_track(clip, query, offered),
                         "range": [query.start_frame / fps, query.end_frame / fps],
                         "answer": result.raw_text, "scores": score}
                    )  # fmt: skip
    print(f"{len(clips)} clips, {sum(len(c.queries) for c in clips)} queries")
    print("| | n | right person | m_tIoU | m_vIoU |\n| --- | --- | --- | --- | --- |")
    for name in sorted(rows):
        right, tiou, viou = np.mean(rows[name], axis=0)
        print(f"| {name} | {len(rows[name])} | {right:.3f} | {tiou:.3f} | {viou:.3f} |")
    if args.json:
        args.json.write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
