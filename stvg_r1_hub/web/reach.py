"""What of models and trackers can be had here, and why the rest cannot."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

from stvg_r1_hub.tracking.by_name import STRONG_DETECTOR
from stvg_r1_hub.tracking.transformers_open import OPEN_MODEL

PUBLISHED = "XiaowenZhang/stvg-r1-model-7b"
NEEDS_ULTRALYTICS = "needs ultralytics: pip install 'stvg-r1-hub[yolo]'"
OUT_OF_REACH = "its weights are not on this machine, and the Hugging Face Hub cannot be reached"
NEEDS_GPU = "needs a GPU; this page was started without it"
TRACKERS_OF_ULTRALYTICS = {"yolo", "yolo-world", "yoloe", "paper"}
WEIGHTS = {"rtdetr": STRONG_DETECTOR, "open": OPEN_MODEL}
_PATIENCE_SECONDS = 3.0


class Absent(NamedTuple):
    """Something that a visitor may have heard of and cannot have here."""

    label: str
    reason: str


def why_no_tracker(name: str, device: str) -> str:
    """Why a tracker of `tracking.TRACKERS` cannot be had, in a few words; empty when it can."""
    if name in TRACKERS_OF_ULTRALYTICS and importlib.util.find_spec("ultralytics") is None:
        return NEEDS_ULTRALYTICS
    if name in WEIGHTS and not has_weights(WEIGHTS[name]):
        return OUT_OF_REACH
    return why_no_masks(device) if name in ("paper", "paper-coco") else ""


def why_no_masks(device: str) -> str:
    """Why SAM 2 cannot be had; empty when it can."""
    size = "large" if device.startswith("cuda") else "tiny"
    return "" if has_weights(f"facebook/sam2.1-hiera-{size}") else OUT_OF_REACH


def absent_models(names: Sequence[str]) -> list[Absent]:
    """The published checkpoint, where the page does not offer it."""
    here = PUBLISHED in names
    return [] if here else [Absent("the paper's model (STVG-R1, 7B)", NEEDS_GPU)]


def has_weights(repo_id: str) -> bool:
    """Whether a repository of the Hub is in the cache or can be fetched."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo_id, "config.json"), str) or hub_answers()


@cache
def hub_answers() -> bool:
    """Whether the Hub can be reached, asked once and for no longer than three seconds."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    # In a thread: no option of a client bounds the time in which a name is looked up.
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(get_session().head, constants.ENDPOINT, timeout=_PATIENCE_SECONDS)
    try:
        return bool(asked.result(_PATIENCE_SECONDS).status_code < 500)
    except Exception:  # Whatever the client raises, it is out of reach.
        return False
    finally:
        pool.shutdown(wait=False)
