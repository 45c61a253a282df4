"""The words of the track notes against what objects truly do.

    python -m benchmarks.bench_notes VIDEO GT.txt [--frames 400] [--sprites 30]

Ground truth is MOTChallenge's, of people, as in `bench_real.py`. Every true box of a clear motion
(`motion_queries.motions`) is held against the word that the notes have for that instant, once with
the true boxes given and once with the tracks of the bundled COCO detector, matched by IoU; and
every clear stretch against the segment that overlaps it most. Sprite scenes of every level, camera
movement included, are held against their scripts: who walks left or right, and who rests.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.bench_real import RealClip, part_of, read_people, true_tracks
from benchmarks.motion_queries import LEFT, RIGHT, STILL, UNCLEAR, motions, runs
from stvg_r1_hub.config import SamplingConfig, TrackingConfig
from stvg_r1_hub.evaluation.metrics import best_track, temporal_iou
from stvg_r1_hub.notes import take_notes
from stvg_r1_hub.reading import read_once
from stvg_r1_hub.sprites import clips as sprites
from stvg_r1_hub.sprites.levels import LEVELS
from stvg_r1_hub.structures import Frames, ObjectNote, Tracks
from stvg_r1_hub.tracking import load_tracker
from stvg_r1_hub.video import open_video

MATCHED = 0.5


class Tally:
    """Agreement per instant and times of stretches, of one row of the table."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.overlaps: list[float] = []

    def instant(self, truth: str, note: ObjectNote | None, seconds: float) -> None:
        said = words_at(note, seconds) if note is not None else {"(no object)"}
        self.pairs[truth, truth if truth in said else "/".join(sorted(said))] += 1

    def stretch(self, truth: str, note: ObjectNote | None, span: tuple[float, float]) -> None:
        found = [
            temporal_iou((s.start_seconds, s.end_seconds), span)
            for s in (note.motion if note else ())
            if s.word == truth
        ]
        self.overlaps.append(max(found, default=0.0))

    def line(self, name: str) -> str:
        total = sum(self.pairs.values())
        right = sum(n for (truth, said), n in self.pairs.items() if truth == said)
        by_word = {
            word: sum(n for (t, s), n in self.pairs.items() if t == word == s)
            / sum(n for (t, _), n in self.pairs.items() if t == word)
            for word in sorted({t for t, _ in self.pairs})
        }
        words = ", ".join(f"{word} {share:.2f}" for word, share in by_word.items())
        times = f"{np.mean(self.overlaps):.2f}" if self.overlaps else "-"
        return f"| {name} | {right / max(total, 1):.3f} | {total} | {words} | {times} |"


def words_at(note: ObjectNote, seconds: float) -> set[str]:
    """The words of the segments that hold at an instant."""
    said = {s.word for s in note.motion if s.start_seconds <= seconds < s.end_seconds}
    return (said - {"fast"}) or {"(nothing)"}


def real_rows(video: Path, truth: Path, n_frames: int) -> list[str]:
    people = read_people(truth)
    tracker, _ = load_tracker("coco", config=TrackingConfig())
    with open_video(video) as source, tempfile.TemporaryDirectory():
        fps = source.info.fps
        frames, tracks = read_once(source, SamplingConfig(), tracker)
        info = source.info
    there = [p for who, boxes in people.items() if (p := part_of(who, boxes, 0, n_frames))]
    given = true_tracks(RealClip(0, n_frames, False, there, []), info)
    order = sorted(there, key=lambda p: p.first_frame)
    lines = []
    for name, used in (("true boxes", given), ("COCO tracks", tracks)):
        notes = {note.object_id: note for note in take_notes(frames, used).objects}
        tally = Tally()
        for person in order:
            states = motions(person.boxes, fps)
            matched = [
                note_of(used, notes, person.first_frame + i, box)
                for i, box in enumerate(person.boxes)
            ]
            for i, state in enumerate(states):
                if state != UNCLEAR:
                    tally.instant(state, matched[i], (person.first_frame + i) / fps)
            for word in set(states) - {UNCLEAR}:
                for first, stop in runs(states, word, fps):
                    middle = matched[(first + stop) // 2]
                    span = (person.first_frame + first) / fps, (person.first_frame + stop) / fps
                    tally.stretch(word, middle, span)
        lines.append(tally.line(name))
    return lines


def note_of(
    tracks: Tracks, notes: dict[int, ObjectNote], frame: int, box: np.ndarray
) -> ObjectNote | None:
    """The note of the track that covers a true box best."""
    best = best_track(tracks, np.array([frame]), [box], minimum_iou=MATCHED)
    return None if best is None else notes.get(best)


def sprite_row(level: str, n: int) -> str:
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(n):
            scene = sprites.clip_scene(level, 71, number)
            path = Path(folder) / "clip.mp4"
            sprites.write_clip(scene, path)
            with open_video(path) as source:
                frames, _ = read_once(source, SamplingConfig(fps=4.0), None)
            sprite_instants(tally, scene, frames)
    return tally.line(f"sprites, {level}, true boxes")


def sprite_instants(tally: Tally, scene: sprites.Scene, frames: Frames) -> None:
    notes = {n.object_id: n for n in take_notes(frames, sprites.true_tracks(scene)).objects}
    for thing in scene.objects:
        note = notes.get(thing.object_id)
        if note is None:
            continue
        for seconds in np.arange(0.25, scene.duration_seconds, 0.25):
            near = [thing.action_at(seconds + d) for d in (-0.4, 0.0, 0.4)]
            if len(set(near)) > 1 or not note.start_seconds <= seconds < note.end_seconds:
                continue
            action = next(
                (
                    e
                    for e in thing.events
                    if e.name == near[0] == "walk" and e.start_seconds <= seconds < e.end_seconds
                ),
                None,
            )
            if action is not None:
                tally.instant(RIGHT if action.amount > 0 else LEFT, note, float(seconds))
            elif near[0] is None:
                tally.instant(STILL, note, float(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--sprites", type=int, default=30, help="scenes of each level")
    args = parser.parse_args()
    print("| tracks | instants that agree | instants | by word | tIoU of stretches |")
    print("|---|---|---|---|---|")
    for line in real_rows(args.video, args.truth, args.frames):
        print(line)
    for level in LEVELS if args.sprites else ():
        print(sprite_row(level, args.sprites))


if __name__ == "__main__":
    main()
