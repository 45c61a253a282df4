"""The parts of a pipeline by their names: settings, tracker, segmenter, language model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stvg_r1_hub import hub
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.segmentation import Segmenter, check_name, load_segmenter
from stvg_r1_hub.tracking import Tracker, load_tracker
from stvg_r1_hub.tracking.onnx_detector import detector_classes
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


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a pipeline is loaded from, now or again; see `STVGPipeline.from_pretrained`."""

    id_or_path: str | Path
    access: hub.HubAccess
    tracker: str | Path | Tracker
    classes: str | Sequence[str] | None
    segmenter: str | Path | Segmenter
    vlm: VLM | None
    prompt_id: str | None

    def load(self, placement: Placement) -> LoadedParts:
        """Find and load everything."""
        bundle = hub.load_bundle(self.id_or_path, self.access, weights=self.vlm is None)
        config, messages = bundle.config, list(bundle.warnings)
        if self.prompt_id is not None and self.prompt_id != config.prompt_id:
            build_prompt("", self.prompt_id)
            messages.append(
                f"The prompt {self.prompt_id!r} is used; the model is made for "
                f"{config.prompt_id!r}."
            )
            config = replace(config, prompt_id=self.prompt_id)
        if isinstance(self.segmenter, str | Path):
            check_name(self.segmenter)  # Loaded when a video was tracked, it would say so late.
        others = self.access.elsewhere()
        segmenter = functools.cache(
            functools.partial(
                load_segmenter, self.segmenter, device=placement.device, access=others
            )
        )
        tracker, choice = load_tracker(
            self.tracker,
            config=config.tracking.of_classes(self.classes),
            bundle=bundle.detector_home,
            device=placement.device,
            access=others,
            segmenter=segmenter,
        )
        vlm, remarks = _own_model(bundle, config, placement) if self.vlm is None else (self.vlm, ())
        return LoadedParts(
            config,
            tracker,
            vlm,
            segmenter if isinstance(self.segmenter, str | Path) else self.segmenter,
            bundle if self.vlm is None else None,
            (*messages, *remarks, *filter(None, [choice])),
        )

    def from_cache(self) -> Recipe:
        """The same on this machine, without network and without a token that others may read."""
        return replace(self, access=replace(self.access, token=None, local_files_only=True))


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
