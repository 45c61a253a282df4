"""How well a model grounds unseen sprite-world clips, with its detector and tracker in the loop."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub import hub
from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.errors import Cancelled, STVGError
from stvg_r1_hub.evaluation.metrics import temporal_iou, tube_iou
from stvg_r1_hub.geometry import frames_in_range, paired_iou
from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.sprites.clips import (
    check_request,
    clip_scene,
    true_tracks,
    true_tube,
    write_clip,
)
from stvg_r1_hub.sprites.scene import Scene, traits
from stvg_r1_hub.structures import SAYS_NOTHING, Progress, Tracks
from stvg_r1_hub.tracking import GivenTracks


@dataclass(frozen=True)
class Score:
    """One clip's scores, fractions in 0..1; all 0 when nothing usable was answered."""

    id_correct: bool
    """The right object; or the answer that there is none, where that is right."""
    tiou: float | None
    """None where the right answer is that there is none."""
    viou: float | None


def no_answer(scene: Scene) -> Score:
    """The score of a clip about which nothing was answered."""
    return Score(False, 0.0, 0.0) if scene.answer_range else Score(False, None, None)


def matching_track(tracks: Tracks, scene: Scene) -> int | None:
    """ID of the track that follows the target: highest mean IoU over its tube, at least 0.5.

    Frames of the true tube where a track has no box count as IoU 0.
    """
    tube = true_tube(scene)
    best_id, best = None, 0.5
    for track in tracks.tracks:
        seen = [(track.box_at(i), box) for i, box in tube.items()]
        pairs = [(ours, theirs) for ours, theirs in seen if ours is not None]
        if not pairs:
            continue
        ours, theirs = (np.stack(boxes) for boxes in zip(*pairs, strict=True))
        overlap = float(paired_iou(ours, theirs).sum()) / len(tube)
        if overlap >= best:
            best_id, best = track.object_id, overlap
    return best_id


def score_answer(
    scene: Scene, tracks: Tracks, object_id: int, start_seconds: float, end_seconds: float
) -> Score:
    """Compare one object during one time range with the truth.

    Frames where the object has no box and the target is not in view count for nothing.
    """
    if scene.answer_range is None:
        return no_answer(scene)
    track = tracks.get(object_id)
    tube = true_tube(scene)
    frames = frames_in_range(tracks.frame_times, start_seconds, end_seconds)
    predicted = {i: track.box_at(i) if track is not None else None for i in frames}
    absent = [i for i in frames_in_range(tracks.frame_times, *scene.answer_range) if i not in tube]
    for i in absent:
        if predicted.get(i) is None:
            predicted.pop(i, None)
    return Score(
        object_id == matching_track(tracks, scene),
        temporal_iou((start_seconds, end_seconds), scene.answer_range),
        tube_iou(predicted, tube),
    )


def score_result(scene: Scene, result: GroundingResult) -> Score:
    """Compare a result with the truth; saying that there is none must be said outright."""
    if scene.answer_range is None:
        problem = parse_answer(result.raw_text).problem or ""
        return Score(not result.found and problem.startswith(SAYS_NOTHING), None, None)
    if not result.found or result.tracks is None:
        return no_answer(scene)
    assert result.start_seconds is not None and result.end_seconds is not None
    return score_answer(
        scene, result.tracks, result.object_ids[0], result.start_seconds, result.end_seconds
    )


def _score_baseline(scene: Scene, tracks: Tracks | None, rng: np.random.Generator) -> Score:
    if tracks is None or not tracks.tracks:
        return no_answer(scene)
    object_id = int(rng.choice(np.array(tracks.object_ids)))
    return score_answer(scene, tracks, object_id, 0.0, scene.duration_seconds)


def summarize(scores: Sequence[Score]) -> dict[str, float]:
    """Means: `id_accuracy` over all clips, the others over the clips with an answer.

    `viou_03` and `viou_05` are shares with vIoU above 0.3 and 0.5; `none_accuracy` is over the
    clips without an answer. A mean over no clip is left out.
    """
    figures = {"id_accuracy": float(np.mean([score.id_correct for score in scores]))}
    viou = np.array([score.viou for score in scores if score.viou is not None])
    tiou = np.array([score.tiou for score in scores if score.tiou is not None])
    if len(viou):
        figures |= {
            "m_tiou": float(tiou.mean()),
            "m_viou": float(viou.mean()),
            "viou_03": float((viou > 0.3).mean()),
            "viou_05": float((viou > 0.5).mean()),
        }
    rejected = [score.id_correct for score in scores if score.viou is None]
    if rejected:
        figures["none_accuracy"] = float(np.mean(rejected))
    return {name: round(value, 4) for name, value in figures.items()}


def breakdown(
    scenes: Sequence[Scene], scores: Sequence[Score]
) -> dict[str, dict[str, dict[str, float]]]:
    """Means by each trait's values: number of objects, fps, form of question, action, ..."""
    groups: dict[str, dict[str, list[Score]]] = {}
    for scene, score in zip(scenes, scores, strict=True):
        for trait, value in traits(scene).items():
            groups.setdefault(trait, {}).setdefault(value, []).append(score)
    return {
        trait: {
            value: {"n": len(members), **summarize(members)}
            for value, members in sorted(values.items())
        }
        for trait, values in groups.items()
    }


def run_sprites(
    level: str,
    seed: int,
    n: int,
    *,
    model: str = "tiny",
    revision: str | None = None,
    tracker: str = "auto",
    device: str = "auto",
    with_true_tracks: bool = False,
    json_path: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ground `n` unseen clips and score the answers.

    Every clip counts: one that fails scores 0 and is listed with its reason.

    Args:
        level: one of `levels.LEVELS`.
        seed: which clips.
        n: how many.
        model: as for `STVGPipeline.from_pretrained`.
        revision: as there.
        tracker: as there.
        device: as there.
        with_true_tracks: also ask with the true tracks, to tell the model from the tracker.
        json_path: also write the figures there.
        progress: called with the stage `"sprites"`.

    Returns:
        `model`, `model_fingerprint`, `n`, `n_failed` (nothing usable answered), the means of
        `summarize`, the same for the `baseline` (a random track through the whole clip) and for
        `true_tracks` when asked for,
        `seconds_per_clip`, `breakdown` by traits, and `samples` with every clip's query, answer
        and scores.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    check_request(level, seed, n)
    pipeline = STVGPipeline.from_pretrained(
        model, revision=revision, tracker=tracker, device=device
    )
    trials = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for number in range(n):
            rng = np.random.default_rng([seed, number])
            scene = clip_scene(level, seed, number)
            trials.append(_try(pipeline, scene, path, rng, with_true_tracks=with_true_tracks))
            if progress is not None:
                progress("sprites", number + 1, n)
    scores, samples = [trial.score for trial in trials], [trial.sample for trial in trials]
    files = hub.resolve(model, hub.HubAccess(revision=revision))
    figures: dict[str, Any] = {
        "model": str(model),
        "model_fingerprint": hub.fingerprint(files, pipeline.config),
        "level": level,
        "seed": seed,
        "n": n,
        "n_failed": sum(1 for sample in samples if sample["failed"]),
        **summarize(scores),
        "baseline": {
            "n": n,
            "n_failed": sum(1 for sample in samples if not sample["n_tracks"]),
            **summarize([trial.baseline for trial in trials]),
        },
        "seconds_per_clip": round(sum(trial.seconds for trial in trials) / n, 3),
        "breakdown": breakdown([trial.scene for trial in trials], scores),
        "samples": samples,
    }
    oracle = [trial.oracle for trial in trials if trial.oracle is not None]
    if oracle:
        figures["true_tracks"] = {"n": n, **summarize(oracle)}
    if json_path is not None:
        with replacing(json_path) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


@dataclass(frozen=True)
class _Trial:
    """One clip, asked about."""

    scene: Scene
    score: Score
    baseline: Score
    oracle: Score | None
    sample: dict[str, Any]
    seconds: float
    """What the answer took, tracking included."""


def _try(
    pipeline: STVGPipeline,
    scene: Scene,
    path: Path,
    rng: np.random.Generator,
    *,
    with_true_tracks: bool,
) -> _Trial:
    write_clip(scene, path)
    begun = time.perf_counter()
    result, reason = _ask(pipeline, scene, path)
    seconds = time.perf_counter() - begun
    score = score_result(scene, result) if result else no_answer(scene)
    return _Trial(
        scene,
        score,
        baseline=_score_baseline(scene, result.tracks if result else None, rng),
        oracle=_oracle_score(pipeline, scene, path) if with_true_tracks else None,
        sample=_sample(scene, result, reason, score),
        seconds=seconds,
    )


def _ask(
    pipeline: STVGPipeline, scene: Scene, path: Path
) -> tuple[GroundingResult | None, str | None]:
    """The pipeline's result, or None and the reason: one bad clip must not end the run."""
    try:
        result = pipeline(scene.query, path)
    except Cancelled:
        raise
    except STVGError as error:
        return None, str(error)
    return result, None if result.found else " ".join(result.warnings)


def _oracle_score(pipeline: STVGPipeline, scene: Scene, path: Path) -> Score:
    with_truth = pipeline.replace(tracker=GivenTracks(true_tracks(scene)))
    result, _ = _ask(with_truth, scene, path)
    return score_result(scene, result) if result else no_answer(scene)


def run_with_true_tracks(model: Path, level: str, *, seed: int, n: int) -> dict[str, Any]:
    """Means of a language model's answers to `n` clips, the tracks given; no detector is needed.

    Raises:
        ConfigError: a level, seed or number that is not allowed.
    """
    check_request(level, seed, n)
    tracker = GivenTracks(true_tracks(clip_scene(level, seed, 0)))
    pipeline = STVGPipeline.from_pretrained(model, tracker=tracker)
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for number in range(n):
            scene = clip_scene(level, seed, number)
            write_clip(scene, path)
            scores.append(_oracle_score(pipeline, scene, path))
    return {"level": level, "seed": seed, "n": n, **summarize(scores)}


def _sample(
    scene: Scene, result: GroundingResult | None, reason: str | None, score: Score
) -> dict[str, Any]:
    found = bool(result and result.found)
    says_none = scene.answer_range is None and score.id_correct
    return {
        "query": scene.query,
        "true_id": scene.target_id,
        "true_range": list(scene.answer_range) if scene.answer_range else None,
        "n_tracks": len(result.tracks.tracks) if result and result.tracks else 0,
        "traits": traits(scene),
        "found": found,
        "failed": not found and not says_none,
        "raw_text": result.raw_text if result else "",
        "reason": reason,
        **asdict(score),
    }
