"""A model's name -> the parts of a pipeline: settings, tracker, language model, segmenter."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stvg_r1_hub import hub, prompting, tracking
from stvg_r1_hub.config import STVGConfig, TrackingConfig
from stvg_r1_hub.device import pick_device
from stvg_r1_hub.segmentation import Segmenter, load_segmenter
from stvg_r1_hub.tracking import Tracker
from stvg_r1_hub.tracking.detectors import detector_classes
from stvg_r1_hub.vlm import VLM
from stvg_r1_hub.vlm.loading import check_folder
from stvg_r1_hub.vlm.reader import NotesReader


@dataclass(frozen=True)
class Parts:
    """What `STVGPipeline` is put together from; see its `__init__`."""

    config: STVGConfig
    tracker: Tracker
    vlm: VLM
    segmenter: Segmenter | Callable[[], Segmenter]
    bundle: hub.Bundle | None
    warnings: tuple[str, ...]


def load_parts(
    id_or_path: str | Path,
    *,
    revision: str | None,
    token: str | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
    device: str,
    device_map: str | dict[str, Any] | None,
    dtype: str | None,
    attn_implementation: str | None,
    quantization: str | None,
    tracker: str | Path | Tracker,
    classes: str | Sequence[str] | None,
    segmenter: str | Path | Segmenter,
    vlm: VLM | None,
    prompt_id: str | None,
) -> Parts:
    """Load everything that `STVGPipeline.from_pretrained` names; its arguments."""
    bundle = hub.load_bundle(
        id_or_path,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        weights=vlm is None,
    )
    config, said = bundle.config, bundle.warnings
    if prompt_id is not None and prompt_id != config.prompt_id:
        prompting.build_prompt("", prompt_id)
        said = (
            *said,
            f"The prompt {prompt_id!r} is used; the model is made for {config.prompt_id!r}.",
        )
        config = replace(config, prompt_id=prompt_id)
    device = pick_device(device)

    @functools.cache
    def make_segmenter() -> Segmenter:
        return load_segmenter(
            segmenter,
            device=device,
            local_files_only=local_files_only,
            token=token,
            cache_dir=cache_dir,
        )[0]

    loaded_tracker, choice = tracking.load_tracker(
        tracker,
        segmenter=make_segmenter,
        config=config.tracking.of_classes(classes),
        bundle=bundle.detector_home,
        device=device,
        local_files_only=local_files_only,
        token=token,
        cache_dir=cache_dir,
    )
    copied = bundle if vlm is None else None
    if vlm is None:
        from stvg_r1_hub.vlm.local import LocalVLM

        load = functools.cache(
            functools.partial(
                LocalVLM.from_pretrained,
                bundle.folder,
                config=config,
                adapter=bundle.adapter,
                revision=None,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                device=device,
                device_map=device_map,
                dtype=dtype,
                attn_implementation=attn_implementation,
                quantization=quantization,
            )
        )
        if config.reads_notes and bundle.adapter is None:
            # Most questions are read: the weights are checked now and loaded when first needed.
            check_folder(bundle.folder, config.position_rule)
        else:
            # Whether an adapter fits is known when it is put on.
            said = (*said, *load().warnings)
        if config.reads_notes:
            seen = detector_classes(bundle.detector_home / config.tracking.detector)
            vlm, said = NotesReader(load, seen_classes=seen), (*said, hub.ABOUT_BUNDLED)
        else:
            vlm = load()

    return Parts(
        config,
        loaded_tracker,
        vlm,
        segmenter=make_segmenter if isinstance(segmenter, str | Path) else segmenter,
        bundle=copied,
        warnings=(*said, choice),
    )


def load_tracker(
    tracker: str | Path | Tracker = "auto",
    *,
    config: TrackingConfig,
    bundle: Path | None = None,
    device: str = "cpu",
    local_files_only: bool = False,
    segmenter: str | Path | Segmenter = "auto",
) -> tuple[Tracker, str]:
    """`tracking.load_tracker` with a segmenter named as in `STVGPipeline.from_pretrained`."""

    def make_segmenter() -> Segmenter:
        return load_segmenter(segmenter, device=device, local_files_only=local_files_only)[0]

    return tracking.load_tracker(
        tracker,
        config=config,
        bundle=bundle,
        device=device,
        local_files_only=local_files_only,
        segmenter=make_segmenter,
    )


def server_vlm(url: str) -> VLM:
    """A language model behind an OpenAI-compatible address; see `vlm.server.ServerVLM`.

    Its key and the model's name there are taken from the environment, where they are set.
    """
    from stvg_r1_hub.vlm.server import MODEL_VARIABLE, TOKEN_VARIABLE, ServerVLM

    model, token = (os.environ.get(name) or None for name in (MODEL_VARIABLE, TOKEN_VARIABLE))
    return ServerVLM(url, model=model, token=token)
