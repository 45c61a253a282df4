"""Uploads that cannot be used: what the tests of the video reader know, as files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.media import picture, write_audio_only, write_clip

TEXTS = {
    "empty": b"",
    "noise": np.random.default_rng(0).bytes(5000),
    "text": b"<script>window.hacked=1</script>",
    "playlist": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "web playlist": b"#EXTM3U\n#EXTINF:1.0,\nhttp://127.0.0.1/x.ts\n#EXT-X-ENDLIST\n",
    "subtitles": b"1\n00:00:00,000 --> 00:00:01,000\nthe dog jumping\n",
}


def bad_files(folder: Path) -> dict[str, Path]:
    """Files by what is wrong with them."""
    files = {name: folder / f"{name.replace(' ', '-')}.mp4" for name in TEXTS}
    for name, path in files.items():
        path.write_bytes(TEXTS[name])
    files["cut off"] = folder / "cut.mp4"
    whole = write_clip(folder / "whole.mp4", 20).read_bytes()
    files["cut off"].write_bytes(whole[: len(whole) // 2])
    files["sound only"] = write_audio_only(folder / "sound.mp4")
    files["one frame"] = write_clip(folder / "one.mp4", 1)
    files["tiny picture"] = write_clip(folder / "tiny.mp4", 10, size=(8, 8))
    return files


def more_bad_files(folder: Path) -> dict[str, Path]:
    """The same and further ones, which differ less for who looks at the page."""
    files = bad_files(folder)
    files["picture"] = folder / "still.mp4"
    Image.fromarray(picture(1)).save(files["picture"], format="png")
    files["archive"] = folder / "archive.mp4"
    with zipfile.ZipFile(files["archive"], "w") as archive:
        archive.write(folder / "whole.mp4", "whole.mp4")
    files["too long"] = write_clip(folder / "long.mp4", 3, times=[0, 1, 200])
    files["hours"] = write_clip(folder / "hours.mkv", 3, times=[0, 1, 5 * 3600])
    files["ribbon"] = write_clip(folder / "ribbon.mp4", 4, size=(4096, 16))
    flat = [np.full((2320, 4112, 3), 90, np.uint8)] * 2
    files["huge picture"] = write_clip(folder / "huge.mp4", flat, options={"preset": "ultrafast"})
    return files
