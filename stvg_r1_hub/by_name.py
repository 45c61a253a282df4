"""The parts of a pipeline by their names: settings, tracker, segmenter, language model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.segmentation import Segmenter, load_segmenter
from stvg_r1_hub.tracking import Tracker, load_tracker
from stvg_r1_hub.tracking.detectors import detector_classes
from stvg_r1_hub.vlm import VLM
from stvg_r1_hub.vlm.loading import Placement, check_folder
from stvg_r1_hub.vlm.local import LocalVLM
from stvg_r1_hub.vlm.reader import NotesReader


@dataclass(frozen=True, eq=False)
class LoadedParts:
    """What a pipeline is put together from."""

    config: STVGConfig
    tracker: Tracker
    vlm: VLM
    segmenter: Segmenter | Callable[[], Segmenter]
    """Itself, or what loads it when it is first needed."""
    bundle: hub.Bundle | None
    """Where the weights come from; None where the language model was given."""
    warnings: tuple[str, ...]


def load_by_name(
    id_or_path: str | Path,
    access: hub.HubAccess,
    placement: Placement,
    *,
    tracker: str | Path | Tracker,
    classes: str | Sequence[str] | None,
    segmenter: str | Path | Segmenter,
    vlm: VLM | None,
    prompt_id: str | None,
) -> LoadedParts:
    """Find and load everything; see `STVGPipeline.from_pretrained`."""
    bundle = hub.load_bundle(id_or_path, access, weights=vlm is None)
    config, messages = bundle.config, list(bundle.warnings)
    if prompt_id is not None and prompt_id != config.prompt_id:
        build_prompt("", prompt_id)
        messages.append(
            f"The prompt {prompt_id!r} is used; the model is made for {config.prompt_id!r}."
        )
        config = replace(config, prompt_id=prompt_id)
    make_segmenter = functools.cache(
        functools.partial(
            load_segmenter, segmenter, device=placement.device, access=access.elsewhere()
        )
    )
    tracker, choice = load_tracker(
        tracker,
        config=config.tracking.of_classes(classes),
        bundle=bundle.detector_home,
        device=placement.device,
        access=access.elsewhere(),
        segmenter=make_segmenter,
    )
    own, remarks = (vlm, ()) if vlm is not None else _own_model(bundle, config, placement)
    return LoadedParts(
        config,
        tracker,
        own,
        make_segmenter if isinstance(segmenter, str | Path) else segmenter,
        bundle if vlm is None else None,
        (*messages, *remarks, *filter(None, [choice])),
    )


def _own_model(
    bundle: hub.Bundle, config: STVGConfig, placement: Placement
) -> tuple[VLM, tuple[str, ...]]:
    """The bundle's language model, and what is worth knowing about it."""
    load = functools.cache(
        functools.partial(
            LocalVLM.from_pretrained,
            bundle.folder,
            config=config,
            adapter=bundle.adapter,
            placement=placement,
        )
    )
    messages: tuple[str, ...] = ()
    if config.reads_notes and bundle.adapter is None:
        # Most questions are read: the weights are checked now and loaded when needed.
        check_folder(bundle.folder, config.position_rule)
    else:
        # Whether an adapter fits is known when it is put on.
        messages = load().warnings
    if not config.reads_notes:
        return load(), messages
    seen = detector_classes(bundle.detector_home / config.tracking.detector)
    return NotesReader(load, seen_classes=seen), (*messages, hub.ABOUT_BUNDLED)
