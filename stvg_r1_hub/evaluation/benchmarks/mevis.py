"""MeViS: expressions that may mean several objects, answered with masks.

Layout of a split folder such as `valid_u`: `meta_expressions.json` (`{"videos": {video: {"frames":
[...], "expressions": {number: {"exp", "obj_id", "anno_id"}}}}}`), `mask_dict.json` (annotation id
-> one RLE or null a frame), and `JPEGImages/<video>/<frame>.jpg`. The `valid` and `test` splits
have no `mask_dict.json`: for them write a submission with `save_submission`. Version 2 has
`meta_expressions_v2.json`, with sentences that nothing in the video matches: their `anno_id` is
empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stvg_r1_hub.errors import AnnotationError, OutputError
from stvg_r1_hub.evaluation.benchmarks.fields import list_of, read_json, record_of, text_of
from stvg_r1_hub.evaluation.benchmarks.reading import Reading, reader
from stvg_r1_hub.evaluation.benchmarks.videos import name_inside
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.geometry import decode_mask, union_of_masks
from stvg_r1_hub.outputs import make_folder
from stvg_r1_hub.structures import RLE

SOURCE = (
    "MeViS is at https://github.com/henghuiding/MeViS (CC BY-NC-SA 4.0): unpack the split, such "
    "as valid_u, and name its folder."
)
SOURCE_V2 = (
    "MeViS v2 is at https://huggingface.co/datasets/FudanCVL/MeViSv2 (MeViS is CC BY-NC-SA 4.0): "
    "unpack JPEGImages.tar of the split, such as valid_u, and name its folder."
)
NOMINAL_FPS = 5.0
"""MeViS gives pictures without times; this only decides how densely they are sampled."""


@reader
def read_mevis(
    reading: Reading, folder: Path, *, version: int = 1, with_masks: bool = True
) -> None:
    """Every expression of a MeViS split.

    Args:
        reading: of the split's folder, or its `meta_expressions.json`.
        folder: of the videos' picture folders, such as `valid_u/JPEGImages`.
        version: 2 takes `meta_expressions_v2.json` where there is one, and sentences without a
            target, which 1 refuses.
        with_masks: read `mask_dict.json`; False for splits that have none, whose samples can be
            answered and submitted but not scored.
    """
    source = SOURCE if version == 1 else SOURCE_V2
    if (split := reading.path).is_dir():
        reading.path = split / "meta_expressions.json"
        if version == 2 and (split / "meta_expressions_v2.json").is_file():
            reading.path = split / "meta_expressions_v2.json"
    records = record_of(reading.values_by_name(source).get("videos"), f"{reading.path}: videos")
    masks: dict[str, Any] | None = None
    if with_masks:
        mask_path = reading.path.with_name("mask_dict.json")
        masks = record_of(read_json(mask_path, source=source), str(mask_path))
    for video, record in records.items():
        with reading.record(video):
            record = record_of(record, "it")
            frames = list_of(record.get("frames"), "frames")
            for name, expression in record_of(record.get("expressions"), "expressions").items():
                sample_id = f"{video}_{name}"
                with reading.record(sample_id):
                    expression = record_of(expression, "it")
                    if version == 1 and expression.get("anno_id") == []:
                        raise AnnotationError(
                            "it has no target, which only MeViS v2 has; name mevis-v2."
                        )
                    pictures = folder / name_inside(video)
                    reading.add(_sample(sample_id, expression, masks, len(frames), pictures))


def _sample(
    sample_id: str, expression: dict[str, Any], masks: dict[str, Any] | None, n_frames: int,
    video: Path,
) -> AnnotatedSample:  # fmt: skip
    nothing = expression.get("anno_id") == []
    return AnnotatedSample(
        sample_id=sample_id,
        video=video,
        query=text_of(expression, "exp"),
        start_seconds=None if nothing else 0.0,
        end_seconds=None if nothing else n_frames / NOMINAL_FPS,
        masks=None if masks is None else _masks(expression, masks, n_frames),
        n_frames=n_frames,
        groups=_groups(expression),
        image_folder_fps=NOMINAL_FPS,
    )


def _groups(expression: dict[str, Any]) -> dict[str, str]:
    ids = expression.get("anno_id")
    return {"true objects": str(len(ids))} if isinstance(ids, list) else {}


def _masks(
    expression: dict[str, Any], masks: dict[str, Any], n_frames: int
) -> tuple[RLE | None, ...]:
    """Union over the expression's objects, one a frame."""
    if expression.get("anno_id") == []:
        return (None,) * n_frames
    of_objects: list[list[RLE | None]] = []
    for name in list_of(expression.get("anno_id"), "anno_id"):
        listed = masks.get(str(name))
        if not isinstance(listed, list) or len(listed) != n_frames:
            got = f"{len(listed)} masks" if isinstance(listed, list) else "none"
            raise AnnotationError(
                f"it needs the {n_frames} masks of annotation {name} in mask_dict.json, "
                f"which has {got}."
            )
        of_objects.append(listed)
    union: list[RLE | None] = []
    for frame, present in enumerate(zip(*of_objects, strict=True)):
        shown = [mask for mask in present if mask is not None]
        try:
            union.append(union_of_masks(shown) if shown else None)
        except (KeyError, TypeError, ValueError) as error:
            raise AnnotationError(f"the mask of frame {frame} is unusable ({error}).") from error
    return tuple(union)


def save_submission(sample: AnnotatedSample, masks: Mapping[int, RLE], folder: str | Path) -> None:
    """Write one expression's masks as MeViS takes them: PNG files of 0 and 255.

    Args:
        sample: the expression; its video is the folder of pictures.
        masks: frame position to mask; other frames are written empty.
        folder: the submission; files go to `<folder>/<video>/<expression>/<frame>.png`.

    Raises:
        OutputError: it cannot be written.
    """
    from PIL import Image

    video, _, expression = sample.sample_id.rpartition("_")
    target = make_folder(Path(folder) / video / expression)
    pictures = sorted(path for path in sample.video.iterdir() if path.suffix == ".jpg")
    for i, picture in enumerate(pictures):
        if i in masks:
            pixels = decode_mask(masks[i])
        else:
            with Image.open(picture) as image:
                pixels = np.zeros((image.height, image.width), dtype=bool)
        path = target / f"{picture.stem}.png"
        try:
            Image.fromarray(pixels.astype(np.uint8) * 255).save(path)
        except OSError as error:
            raise OutputError(f"Cannot write {path}: {error}.") from error
