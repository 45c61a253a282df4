"""Where the videos of an annotation file are, and what they say themselves."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from stvg_r1_hub.errors import AnnotationError, VideoError
from stvg_r1_hub.video import open_video

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def name_inside(name: str) -> Path:
    """A name of an annotation file as a path below its folder, such as `a.mp4` or `3/a.mp4`.

    Raises:
        AnnotationError: it leads out of the folder.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise AnnotationError(
            f"{name!r:.80} is no name of a video: it leads out of the folder of the videos."
        )
    return path


@dataclass(frozen=True)
class VideoFacts:
    """Rate and size of a video; of a missing one any do, since it cannot be asked."""

    fps: float = 30.0
    width: int = 1000
    height: int = 1000


@functools.lru_cache(maxsize=4096)
def video_facts(path: Path) -> VideoFacts:
    """What the video itself says, for annotations that do not say it."""
    try:
        with open_video(path) as source:
            return VideoFacts(source.info.fps, source.info.width, source.info.height)
    except VideoError:
        return VideoFacts()


def video_path(folder: Path, name: str) -> Path:
    """`folder/name`, or the same name with another video suffix, also in a sub-folder.

    HC-STVG spreads its files over numbered folders and some copies are re-encoded, so
    `12_abc.mkv` is also found as `3/12_abc.mp4`. A file that is nowhere gives `folder/name`.

    Raises:
        AnnotationError: no file can have such a name.
    """
    named = name_inside(name)
    stem = named.with_suffix("") if named.suffix.lower() in VIDEO_SUFFIXES else named
    try:
        if (folder / named).is_file():
            return folder / named
        for place in (folder, *_sub_folders(folder)):
            for suffix in VIDEO_SUFFIXES:
                if (place / f"{stem}{suffix}").is_file():
                    return place / f"{stem}{suffix}"
    except (OSError, ValueError) as error:
        raise AnnotationError(f"{name!r:.80} is no name of a video ({error}).") from error
    return folder / named


_known_folders: dict[Path, list[Path]] = {}


def _sub_folders(folder: Path) -> list[Path]:
    if folder not in _known_folders:
        inside = folder.iterdir() if folder.is_dir() else ()
        _known_folders[folder] = sorted(path for path in inside if path.is_dir())
    return _known_folders[folder]
