"""The files of a Hub repository as a local folder, fetched with one question to the Hub.

transformers asks for every file on its own, and without a network each of these requests is
retried for half a minute. Here one request says whether the Hub can be reached at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from stvg_r1_hub.errors import ModelError
from stvg_r1_hub.hub.client_errors import USE_BUNDLED, fetching

FILE_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.md", "*.onnx")
"""What is fetched: weights that cannot run code, settings and texts."""
_STAGES = "checkpoint-*"
"""Folders that trainers leave in a model's: earlier stages of it, with the optimizer's state."""


def is_stage(file: Path) -> bool:
    """Whether a file, relative to its model's folder, is of an earlier stage of the training."""
    return any(fnmatch(part, _STAGES) for part in file.parts[:-1])


def fetch(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    without: Sequence[str] = (),
    instead: str = USE_BUNDLED,
) -> Path:
    """Fetch a repository; what is in the cache already is not fetched again.

    Args:
        repo_id: `"owner/name"`.
        revision: branch, tag or commit.
        token: for private or gated repositories.
        cache_dir: where downloads are kept.
        local_files_only: never ask the network.
        without: patterns of `FILE_PATTERNS` that are not wanted.
        instead: what a user can do where the Hub is out of reach, to end the sentence with.

    Returns:
        Its folder in the cache.

    Raises:
        ModelError: missing, gated or out of reach.
    """
    from huggingface_hub import snapshot_download

    with fetching(repo_id, revision, instead=instead):
        folder = snapshot_download(
            repo_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            allow_patterns=list(FILE_PATTERNS),
            ignore_patterns=[f"{_STAGES}/*", f"*/{_STAGES}/*", *without],
        )
    return Path(str(folder))


def holds(repo_id: str, file: str, *, revision: str | None, token: str | bool | None) -> bool:
    """Whether a repository has a file that is not fetched; False when the Hub cannot be asked."""
    from huggingface_hub import file_exists

    try:
        with fetching(repo_id, revision):
            return file_exists(repo_id, file, revision=revision, token=token)
    except ModelError:
        return False


def model_folder(
    folder_or_id: str | Path,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    instead: str = USE_BUNDLED,
) -> str:
    """A local folder as it is, and of a Hub id what transformers needs of it.

    Args:
        folder_or_id: a folder wins over a repository of the same name.
        token: as for `fetch`, and so are the others.
        cache_dir: see there.
        local_files_only: see there.
        instead: see there.

    Raises:
        ModelError: as `fetch`.
    """
    if Path(folder_or_id).is_dir():
        return str(folder_or_id)
    folder = fetch(
        str(folder_or_id),
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        without=("*.onnx",),
        instead=instead,
    )
    return str(folder)
