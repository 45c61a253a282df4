"""The files of a Hub repository as a local folder, fetched with one question to the Hub.

transformers asks for every file on its own, and without a network each of these requests is
retried for half a minute. Here one request says whether the Hub can be reached at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.hub.client_errors import USE_BUNDLED, fetching

FILE_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.md", "*.onnx")
"""What is fetched: weights that cannot run code, settings and texts."""
_STAGES = "checkpoint-*"
"""Folders that trainers leave in a model's: earlier stages of it, with the optimizer's state."""


@dataclass(frozen=True)
class HubAccess:
    """How the Hub is asked: what `from_pretrained` is given, handed on whole."""

    token: str | bool | None = field(default=None, repr=False)
    """For private or gated repositories; None uses the one of `hf auth login`."""
    cache_dir: str | Path | None = None
    """Where downloads are kept; None uses the Hub's own cache."""
    local_files_only: bool = False
    """Never use the network."""
    revision: str | None = None
    """Branch, tag or commit of the repository that is named; None is its main branch."""

    def elsewhere(self) -> HubAccess:
        """The same for any other repository, which has revisions of its own."""
        return replace(self, revision=None)

    def options(self) -> dict[str, Any]:
        """As keyword arguments of huggingface_hub and transformers."""
        return {**vars(self), "revision": self.revision or "main"}


def is_stage(file: Path) -> bool:
    """Whether a file, relative to its model's folder, is of an earlier stage of the training."""
    return any(fnmatch(part, _STAGES) for part in file.parts[:-1])


def fetch(
    repo_id: str,
    access: HubAccess,
    *,
    without: Sequence[str] = (),
    instead: str = USE_BUNDLED,
) -> Path:
    """Fetch a repository; what is in the cache already is not fetched again.

    Args:
        repo_id: `"owner/name"`.
        access: how the Hub is asked.
        without: patterns of `FILE_PATTERNS` that are not wanted.
        instead: what a user can do where the Hub is out of reach, to end the sentence with.

    Returns:
        Its folder in the cache.

    Raises:
        ModelError: missing, gated or out of reach.
    """
    from huggingface_hub import snapshot_download

    with fetching(repo_id, access.revision, instead=instead):
        folder = snapshot_download(
            repo_id,
            **access.options(),
            allow_patterns=list(FILE_PATTERNS),
            ignore_patterns=[f"{_STAGES}/*", f"*/{_STAGES}/*", *without],
        )
    return Path(str(folder))


def holds(repo_id: str, file: str, access: HubAccess) -> bool:
    """Whether a repository has a file that is not fetched; False when the Hub cannot be asked."""
    from huggingface_hub import file_exists

    try:
        with fetching(repo_id, access.revision):
            return file_exists(repo_id, file, revision=access.revision, token=access.token)
    except ModelError:
        return False


def model_folder(folder_or_id: str | Path, access: HubAccess, *, instead: str = USE_BUNDLED) -> str:
    """A local folder as it is, and of a Hub id what transformers needs of it.

    Args:
        folder_or_id: a folder wins over a repository of the same name.
        access: as for `fetch`.
        instead: as for `fetch`.

    Raises:
        ModelError: as `fetch`.
    """
    if Path(folder_or_id).is_dir():
        return str(folder_or_id)
    return str(fetch(str(folder_or_id), access, without=("*.onnx",), instead=instead))
