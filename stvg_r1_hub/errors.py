"""The errors that callers may want to catch, all children of `STVGError`.

Every message is one sentence that says what was got, what is allowed and what to do.
The command line prints the message and exits with code 2; nothing else needs to be known.
"""

from __future__ import annotations

import importlib
import json
import re
import shlex
import unicodedata
from types import ModuleType


class STVGError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(STVGError, ValueError):
    """A configuration value, file or version that is not allowed."""


class VideoError(STVGError, ValueError):
    """A video that is missing, unreadable, refused for safety, or too small to use."""


class QueryError(STVGError, ValueError):
    """A query without usable text."""


class ModelError(STVGError):
    """A model that is unknown, incomplete, gated, or out of reach."""


class OutOfMemoryError(STVGError, MemoryError):
    """The device has too little memory for this video and model."""


class TrackerError(STVGError):
    """A tracker or detector that is unknown, or tracks that cannot be used."""


class AnnotationError(STVGError, ValueError):
    """An annotation file or record that contradicts itself or its video."""


class OutputError(STVGError, OSError):
    """A file or folder that a result cannot be written to."""


class MissingPackageError(STVGError, ImportError):
    """An optional package is not installed; the message holds the pip command."""


class Cancelled(STVGError):
    """Raised by a progress callback to stop the running work."""


def require_package(module: str, extra: str | None = None) -> ModuleType:
    """Import an optional package, or say which pip command adds it.

    Args:
        module: name to import, such as `"ultralytics"`.
        extra: extra of this package that installs it, such as `"yolo"`; None where no extra does.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        wanted = module if extra is None else f"'stvg-r1-hub[{extra}]'"
        raise MissingPackageError(
            f"The package '{module}' is not installed; add it with: pip install {wanted}"
        ) from error


def package_origin() -> str:
    """Where this package was installed from (PEP 610), as `pip install` takes it."""
    from importlib.metadata import PackageNotFoundError, distribution  # Slow to import.

    try:
        # Without the file it came from an index.
        text = distribution("stvg-r1-hub").read_text("direct_url.json") or "{}"
    except PackageNotFoundError:
        text = "{}"
    origin = json.loads(text)
    where = shlex.quote(origin.get("url", "stvg-r1-hub"))
    if "vcs_info" in origin:
        return f"{origin['vcs_info']['vcs']}+{where}"
    return f"-e {where}" if origin.get("dir_info", {}).get("editable") else where


def first_line(error: BaseException) -> str:
    r"""The first line of what another library says, to be quoted.

    Colours, emoji and the full stop are taken off:

    >>> first_line(OSError("\x1b[31m\u274c Download failure.\x1b[0m\nmore"))
    'Download failure'
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    plain = "".join(c for c in plain if unicodedata.category(c) != "So" and c not in "\ufe0f\u200d")
    lines = plain.strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")
