"""What is installed, what is missing, and the command that adds it."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from stvg_r1_hub import __version__
from stvg_r1_hub.errors import package_origin
from stvg_r1_hub.hub import BUNDLED

PACKAGE = "stvg-r1-hub"
MODULES = {
    "opencv-python": "cv2",
    "pillow": "PIL",
    "pyspellchecker": "spellchecker",
    "pyyaml": "yaml",
}
"""Packages that are imported by another name."""
BUNDLED_FILES = (
    ("model 'tiny'", "tiny/stvg_config.json"),
    ("detector of 'tiny'", "tiny/detector/detector.onnx"),
    ("COCO detector", "coco/detector.onnx"),
    ("demo clip", "demo/clip.mp4"),
)


def report() -> tuple[list[str], bool]:
    """Lines to print, and whether everything that is always needed is there."""
    lines = [
        f"stvg-r1-hub {__version__}, Python {platform.python_version()} ({sys.executable})",
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs",
    ]
    required, optional = _declared()
    healthy = bool(required)
    lines.append("required")
    if not required:
        lines.append(_row(PACKAGE, f"not installed; add it with: pip install {package_origin()}"))
    for package in required:
        problem = _problem(MODULES.get(package, package))
        lines.append(_row(package, problem or _version(package)))
        healthy &= problem is None
    lines.append("optional")
    for package, extra in optional.items():
        missing = find_spec(package) is None
        add = f"missing; add it with: pip install '{PACKAGE}[{extra}]'"
        lines.append(_row(package, add if missing else _version(package)))
    lines.append("devices")
    lines += [_row(name, _tried(look)) for name, look in (("torch", _torch), ("ONNX", _onnx))]
    lines.append("video")
    lines.append(_row("FFmpeg", _tried(_ffmpeg)))
    lines.append("files")
    for name, path in BUNDLED_FILES:
        there = (BUNDLED / path).is_file()
        fix = f"missing; reinstall with: pip install --force-reinstall --no-deps {package_origin()}"
        lines.append(_row(name, "there" if there else fix))
        healthy &= there
    lines += [_row("Hub cache", _tried(_cache)), _row("Hub downloads", _tried(_offline))]
    lines.append("All is well." if healthy else "Something that is needed is missing; see above.")
    return lines, healthy


def _declared() -> tuple[list[str], dict[str, str]]:
    """Packages that this one always needs, and those that extras add, with the extra of each."""
    required, optional = [], dict[str, str]()
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:  # Run from its folder.
        lines = []
    for line in lines:
        name, _, marker = line.partition(";")
        package = re.split(r"[^\w-]", name)[0]
        if "extra ==" not in marker:
            required.append(package)
        elif (extra := marker.split("extra ==")[1].strip(" \"'")) not in ("dev", "docs", "all"):
            optional.setdefault(package, extra)
    return required, optional


def _row(name: str, value: str) -> str:
    return f"  {name:<20}{value}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "version unknown"


def _problem(module: str) -> str | None:
    """Why a package cannot be used, found by importing it: a broken pair installs fine."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        library = str(error).partition(": cannot open shared object file")[0]
        if module == "cv2" and library != str(error):
            return (
                f"broken (no {library} on this machine); repair it with: "
                "pip uninstall -y opencv-python && pip install opencv-python-headless"
            )
        return f"missing ({error}); add it with: pip install {PACKAGE}"
    except Exception as error:  # Whatever a broken installation raises is the finding.
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"broken ({first}); reinstall with: pip install --force-reinstall {package_origin()}"
    return None


def _tried(look: Callable[[], str]) -> str:
    try:
        return look()
    except Exception as error:  # A report must not stop at the first thing that is broken.
        return f"unknown ({error})"


def _torch() -> str:
    import torch

    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return ", ".join([*found, f"cpu ({torch.get_num_threads()} threads)"])


def _onnx() -> str:
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _ffmpeg() -> str:
    import av

    names = ("libavcodec", "libavformat", "libavutil")
    parts = [f"{name} {'.'.join(map(str, av.library_versions[name]))}" for name in names]
    encoder = "libx264" in av.codecs_available
    return ", ".join([*parts, "libx264" if encoder else "no libx264: mp4 cannot be written"])


def _cache() -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    models = len(list(folder.glob("models--*"))) if folder.is_dir() else 0
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(parent).free / 1e9
    writable = "" if os.access(parent, os.W_OK) else ", not writable"
    return f"{folder} ({models} models, {free:.0f} GB free{writable})"


def _offline() -> str:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "off (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)"
    return "on"
