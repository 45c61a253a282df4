"""Open-vocabulary YOLO: YOLO-World and YOLOE of the ultralytics package (extra `[yolo]`).

They compare regions with embedded words. The package embeds words with OpenAI's `clip`, which no
package index has in a form that still installs. Here the same text encoders are read in another
way: CLIP ViT-B/32 for YOLO-World through transformers, and for YOLOE the MobileCLIP file that
ultralytics publishes, both with CLIP's tokenizer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import TrackerError, first_line
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.tracking.ultralytics_detector import UltralyticsDetector, load_yolo

YOLO_WORLD_WEIGHTS = "yolov8x-worldv2.pt"
YOLOE_WEIGHTS = "yoloe-11l-seg.pt"
TEXT_MODEL = "openai/clip-vit-base-patch32"
"""The text encoder that YOLO-World was trained with, and the tokenizer of all."""
_TEXT_LENGTH = 77
_MOBILE_CLIP_FILES = {
    "mobileclip:blt": "mobileclip_blt.ts",
    "mobileclip2:b": "mobileclip2_b.ts",
}
"""What a YOLOE model calls its text encoder -> the file that ultralytics publishes."""


def is_open_vocabulary(model: Any) -> bool:
    """Whether a model of `load_yolo` takes words; YOLOE without prompts has fixed classes."""
    kind = type(model).__name__
    has_fixed_classes = kind == "YOLOE" and hasattr(model.model.model[-1], "lrpc")
    return kind in ("YOLOWorld", "YOLOE") and not has_fixed_classes


class UltralyticsOpenDetector:
    """YOLO-World or YOLOE, of which the boxes are used."""

    def __init__(
        self,
        weights: str | Path = YOLO_WORLD_WEIGHTS,
        *,
        score_threshold: float | None = None,
        device: str = "cpu",
        model: Any = None,
        text_model: str | Path | None = None,
        access: HubAccess = HubAccess(),
    ) -> None:
        """Load weights and text encoder.

        Args:
            weights: as `load_yolo` takes them.
            score_threshold: detections below this are not returned, in 0..1; None takes what
                suits the kind.
            device: a torch device.
            model: what `load_yolo` returned, to use instead of loading `weights`.
            text_model: folder or Hub id of CLIP's text encoder, of which YOLOE takes the tokenizer
                alone; None is `TEXT_MODEL`.
            access: how the Hub is asked for the text encoder.

        Raises:
            MissingPackageError: ultralytics is not installed.
            TrackerError: no such weights, none that take words, or no text encoder.
        """
        self._model = load_yolo(weights) if model is None else model
        self._score_threshold = score_threshold
        self._device = device
        if not is_open_vocabulary(self._model):
            raise TrackerError(
                f"The YOLO model {str(weights)!r} has fixed classes; give a YOLO-World or YOLOE one"
            )
        text_model = TEXT_MODEL if text_model is None else text_model
        is_world = type(self._model).__name__ == "YOLOWorld"
        try:
            self._tokenizer = _load_tokenizer(text_model, access)
            if is_world:
                self._encoder = _load_clip(text_model, access)
            else:
                self._encoder = _load_mobile_clip(self._model.model.text_model)
        except Exception as error:  # transformers, the Hub and ultralytics' downloader.
            what = str(text_model) if is_world else f"{text_model} and MobileCLIP"
            raise TrackerError(
                f"Cannot load the text encoder of {type(self._model).__name__} ({what}): "
                f"{first_line(error)}; connect once so that it can be downloaded, "
                "or take the tracker 'open' or 'coco'"
            ) from error

    def looking_for(self, words: Sequence[str]) -> UltralyticsDetector:
        """A detector whose classes are these words: a copy, so that videos share nothing."""
        import torch

        model = copy.deepcopy(self._model)
        with torch.no_grad():
            embedded = self._embed(words)
            if type(model).__name__ == "YOLOWorld":
                model.model.txt_feats = embedded
                model.model.model[-1].nc = len(words)
                model.model.names = list(words)
            else:
                model.set_classes(list(words), model.model.model[-1].get_tpe(embedded))
        return UltralyticsDetector(
            score_threshold=self._score_threshold,
            device=self._device,
            model=model,
            kind="yolo-world" if type(model).__name__ == "YOLOWorld" else "yoloe",
        )

    def _embed(self, words: Sequence[str]) -> Any:
        """`(1, N, 512)` float32 of unit length, one a word."""
        import torch

        tokens = torch.zeros(len(words), _TEXT_LENGTH, dtype=torch.long)
        for row, word in zip(tokens, words, strict=True):
            ids = self._tokenizer(word, truncation=True, max_length=_TEXT_LENGTH)["input_ids"]
            row[: len(ids)] = torch.tensor(ids)
        features = self._encoder(tokens).float()
        return torch.nn.functional.normalize(features, dim=-1).unsqueeze(0)


def _load_tokenizer(name: str | Path, access: HubAccess) -> Any:
    from transformers import AutoTokenizer

    options = access.options()
    return AutoTokenizer.from_pretrained(str(name), trust_remote_code=False, **options)


def _load_clip(name: str | Path, access: HubAccess) -> Any:
    """Tokens `(N, 77)` -> features `(N, 512)`."""
    from transformers import CLIPTextModelWithProjection

    model = CLIPTextModelWithProjection.from_pretrained(
        str(name), use_safetensors=True, **access.options()
    )
    encoder = model.eval()
    return lambda tokens: encoder(input_ids=tokens).text_embeds


def _load_mobile_clip(kind: str) -> Any:
    """Tokens `(N, 77)` -> features `(N, 512)`; the file is code of ultralytics that torch runs."""
    import torch
    from ultralytics.utils.downloads import attempt_download_asset

    if kind not in _MOBILE_CLIP_FILES:
        raise ValueError(f"unknown text encoder {kind!r}")
    load: Any = torch.jit.load
    return load(attempt_download_asset(_MOBILE_CLIP_FILES[kind]), map_location="cpu")
