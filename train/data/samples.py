"""Training samples: a question about a clip with numbers drawn, and what would be right.

Two sources: a folder that `train/prepare.py` wrote, and sprite world, rendered on the fly.

Format of a prepared folder (version 1):

    prepare.json             what it was made from and how; other settings are refused
    stvg_config.json         sampling, marker style and prompt of the checkpoint to train
    samples.jsonl            one line a usable sentence, written when all videos are done
    failed.jsonl             videos that could not be used, with the reason
    set_aside.jsonl          sentences without a track on the annotated object, and annotations
                             that are wrong: whole records, or with n_boxes so many of their boxes
    videos/<name>/frames.png    the T sampled frames with numbers, one below the other, lossless
    videos/<name>/mirrored.png  the same of the clip flipped left to right (with --mirror)
    videos/<name>/tracks.json   all tracks, boxes and run-length masks (`tracking.save_tracks`)
    videos/<name>/record.json   the lines of samples.jsonl and set_aside.jsonl of this video
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import AnnotationError, OutputError
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.structures import Frames
from stvg_r1_hub.tracking import load_tracks
from train.rewards import GroundTruth

FORMAT_VERSION = 1
SETTINGS, SAMPLES = "prepare.json", "samples.jsonl"
FAILED, SET_ASIDE = "failed.jsonl", "set_aside.jsonl"
FRAMES, MIRRORED, TRACKS, RECORD = "frames.png", "mirrored.png", "tracks.json", "record.json"


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """One question, ready to be asked."""

    sample_id: str
    """Named in every message about it."""
    query: str
    prompt: str
    frames: NDArray[np.uint8]
    """`(T, h, w, 3)` RGB at the model's size, numbers drawn."""
    sample_fps: float
    truth: GroundTruth
    mirrored_frames: NDArray[np.uint8] | None = None
    """The clip flipped left to right, numbers drawn afterwards."""
    mirrored_prompt: str | None = None
    target: str | None = None
    """What supervised training teaches to say; None: a plain statement of the truth."""

    @property
    def target_text(self) -> str:
        """The answer for supervised training."""
        if self.target is not None:
            return self.target
        if self.truth.is_nothing:
            return "<think>Nothing matches.</think><answer>Target ID: none</answer>"
        object_id, start, end = self.truth.solution
        answer = f"Target ID: {object_id:.0f}, Time range: {start:.2f} to {end:.2f}"
        thought = f"It happens from {start:.2f} to {end:.2f}; it is object ID {object_id:.0f}."
        return f"<think>{thought}</think><answer>{answer}</answer>"


def as_frames(pixels: NDArray[np.uint8], sample_fps: float) -> Frames:
    """Frames of a training sample as the record that model inputs are made from.

    Args:
        pixels: `(T, h, w, 3)` uint8 RGB at the model's size.
        sample_fps: of the sample.
    """
    places = np.arange(len(pixels))
    return Frames(pixels, places, places / sample_fps, sample_fps, *pixels.shape[1:3])


class SampleSource(Protocol):
    """A finite number of samples, made when asked for."""

    title: str
    """What they are, for the card of a model trained on them."""
    fingerprint: str
    """Equal for the same samples; a resumed run goes on with no others."""
    config: STVGConfig
    """How their clips are sampled and marked, and their prompts written."""

    @property
    def sample_ids(self) -> Sequence[str]:
        """The name of each."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingSample: ...


class PreparedSamples:
    """The samples of a prepared folder."""

    def __init__(self, folder: str | Path) -> None:
        """Read the index; frames are read when a sample is asked for.

        Raises:
            AnnotationError: no prepared folder, not finished, or a line that is not usable.
        """
        self.folder = Path(folder)
        self.title = self.folder.resolve().name
        if not (self.folder / SETTINGS).is_file():
            raise AnnotationError(
                f"{folder} is no prepared folder (it has no {SETTINGS}); make one with: "
                "python -m train.prepare"
            )
        self.config = STVGConfig.load(self.folder)
        path = self.folder / SAMPLES
        try:
            text = path.read_text(encoding="utf-8")
            lines = text.splitlines()
            self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
            self.records = [_checked(json.loads(line), path, i) for i, line in enumerate(lines, 1)]
        except (OSError, ValueError) as error:
            if isinstance(error, AnnotationError):
                raise
            raise AnnotationError(
                f"Cannot read {path}: {error}; run train.prepare to its end first."
            ) from error
        if not self.records:
            raise AnnotationError(f"{path} holds no samples; {FAILED} and {SET_ASIDE} say why.")

    @property
    def sample_ids(self) -> list[str]:
        """The name of each."""
        return [record["sample_id"] for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> TrainingSample:
        record = self.records[index]
        video = self.folder / "videos" / record["folder"]
        mirrored = None
        if (video / MIRRORED).is_file():
            mirrored = read_frames(video / MIRRORED, record["n_frames"])
        query = record["query"]
        return TrainingSample(
            sample_id=record["sample_id"],
            query=query,
            prompt=build_prompt(query, self.config.prompt_id),
            frames=read_frames(video / FRAMES, record["n_frames"]),
            sample_fps=record["sample_fps"],
            truth=GroundTruth(
                object_ids=tuple(record["object_ids"]),
                start_seconds=record["start_seconds"],
                end_seconds=record["end_seconds"],
                duration_seconds=record["duration_seconds"],
                tracks=load_tracks(video / TRACKS),
                boxes={int(frame): box for frame, box in record["boxes"].items()},
            ),
            mirrored_frames=mirrored,
            mirrored_prompt=build_prompt(record["mirrored_query"], self.config.prompt_id),
        )


_FIELDS: dict[str, Any] = {
    "sample_id": str, "folder": str, "query": str, "mirrored_query": str, "object_ids": list,
    "start_seconds": float, "end_seconds": float, "duration_seconds": float,
    "sample_fps": float, "n_frames": int, "boxes": dict,
}  # fmt: skip


def _checked(record: Any, path: Path, line: int) -> dict[str, Any]:
    for name, kind in _FIELDS.items():
        value = record.get(name) if isinstance(record, dict) else None
        if not isinstance(value, (int, float) if kind is float else kind):
            raise AnnotationError(f"{path}, line {line}: {name} is {value!r}; prepare it again.")
    checked: dict[str, Any] = record
    return checked


def write_frames(path: Path, frames: NDArray[np.uint8]) -> None:
    """Frames `(T, h, w, 3)` RGB one below the other as a lossless picture.

    Raises:
        OutputError: it cannot be written.
    """
    import cv2

    tall = frames.reshape(-1, *frames.shape[2:])[..., ::-1]
    if not cv2.imwrite(str(path), np.ascontiguousarray(tall)):
        raise OutputError(
            f"Cannot write {path}: is the disk full? What is finished stays; make room and repeat."
        )


def read_frames(path: Path, n_frames: int) -> NDArray[np.uint8]:
    """Inverse of `write_frames`.

    Raises:
        AnnotationError: the picture is missing or damaged.
    """
    import cv2

    tall = cv2.imread(str(path))
    if tall is None or len(tall) % n_frames:
        raise AnnotationError(f"{path} is missing or damaged; prepare this video again.")
    frames: NDArray[np.uint8] = np.ascontiguousarray(tall[..., ::-1], dtype=np.uint8)
    return frames.reshape(n_frames, -1, *frames.shape[1:])


def sample_order(n_samples: int, seed: int, start: int, count: int) -> Sequence[int]:
    """Sample indices at places `start ... start + count - 1` of an endless shuffled reading.

    Every epoch is a new permutation; the place alone tells the sample, so a resumed run needs to
    know nothing else.
    """
    order = []
    for place in range(start, start + count):
        epoch, i = divmod(place, n_samples)
        order.append(int(_permutation(n_samples, seed, epoch)[i]))
    return order


def _permutation(n_samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(n_samples)
