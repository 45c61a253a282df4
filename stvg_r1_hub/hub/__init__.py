"""Names to files and back: finding, downloading, saving and publishing models."""

from stvg_r1_hub.hub.bundle import (
    ABOUT_BUNDLED,
    ADAPTER_CONFIG,
    BUNDLED,
    BUNDLED_MODELS,
    LANGUAGE_MODEL,
    Bundle,
    base_of,
    fingerprint,
    is_adapter,
    load_bundle,
    local_folder,
    resolve,
)
from stvg_r1_hub.hub.files import HubAccess

__all__ = [
    "ABOUT_BUNDLED",
    "ADAPTER_CONFIG",
    "BUNDLED",
    "BUNDLED_MODELS",
    "LANGUAGE_MODEL",
    "Bundle",
    "HubAccess",
    "base_of",
    "fingerprint",
    "is_adapter",
    "load_bundle",
    "local_folder",
    "resolve",
]
