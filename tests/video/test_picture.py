"""From a decoded frame to what a viewer sees: turned, square, on white."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from stvg_r1_hub.video import open_video
from tests.media import (
    display_matrix,
    encoded,
    numbers,
    picture,
    red_corner,
    write_clip,
    write_pictures,
)

ORIENTATIONS = {  # a, b, c, d of the display matrix -> size, where the lower left corner goes
    "none": ((1, 0, 0, 1), (96, 64), "lower left"),
    "clockwise": ((0, 1, -1, 0), (64, 96), "upper left"),
    "half turn": ((-1, 0, 0, -1), (96, 64), "upper right"),
    "counter": ((0, -1, 1, 0), (64, 96), "lower right"),
    "mirrored": ((-1, 0, 0, 1), (96, 64), "lower right"),
    "upside down": ((1, 0, 0, -1), (96, 64), "upper left"),
    "transposed": ((0, 1, 1, 0), (64, 96), "upper right"),
}


CODECS = {
    "v.mp4": {},
    "v.mkv": {},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}},
    "vp9.mkv": {"codec": "libvpx-vp9"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
}


@pytest.mark.parametrize("file", CODECS)
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_rotation_and_mirroring(tmp_path, name, file):
    matrix, size, corner = ORIENTATIONS[name]
    path = write_clip(tmp_path / file, 4, matrix=display_matrix(*matrix), **CODECS[file])
    with open_video(path) as source:
        assert (source.info.width, source.info.height) == size
        pixels = next(source.stream()).pixels
        assert pixels.shape == (size[1], size[0], 3)
        assert red_corner(pixels) == corner


def test_pictures_that_turn_themselves(tmp_path):
    """EXIF in the pictures, nothing in the container; also side data newer than PyAV's table."""
    exif = Image.Exif()
    exif[0x112] = 6
    path = write_pictures(tmp_path / "v.mkv", encoded("JPEG", exif=exif), "mjpeg")
    with open_video(path) as source:
        assert (source.info.width, source.info.height) == (64, 96)
        assert red_corner(next(source.stream()).pixels) == "upper left"


def with_profiles(folder: Path) -> list[Path]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    frames = [Image.fromarray(picture(i)) for i in range(6)]
    more = {"save_all": True, "append_images": frames[1:], "duration": 100}
    frames[0].save(folder / "a.png", icc_profile=profile, **more)
    packets = encoded("PNG", icc_profile=profile)
    return [folder / "a.png", *(write_pictures(folder / n, packets, "png") for n in PNG_FILES)]


PNG_FILES = ("v.mov", "v.avi")


def test_colour_profiles_do_no_harm(tmp_path):
    """In a process of its own: what it is about ends the process at a collection of garbage."""
    code = (
        "import gc, sys; from stvg_r1_hub.video import open_video\n"
        "for name in sys.argv[1:]:\n"
        "    frames = list(open_video(name).stream()); gc.collect(); print(len(frames))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, with_profiles(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["6"] * 3), done.stderr


@pytest.mark.parametrize(
    ("aspect", "size"), [(Fraction(2, 1), (192, 64)), (Fraction(1, 2), (96, 128))]
)
def test_pixels_become_square(tmp_path, aspect, size):
    path = write_clip(tmp_path / "v.mp4", 4, sample_aspect_ratio=aspect)
    with open_video(path) as source:
        assert (source.info.width, source.info.height) == size
        assert numbers(source) == [0, 1, 2, 3]


def test_odd_size(tmp_path):
    path = write_clip(tmp_path / "v.mkv", 6, size=(97, 65), codec="ffv1", pix_fmt="bgr0")
    with open_video(path) as source:
        assert next(source.stream()).pixels.shape == (65, 97, 3)


def test_grey_and_alpha(tmp_path):
    grey = write_clip(tmp_path / "g.mkv", 4, codec="ffv1", pix_fmt="gray")
    with open_video(grey) as source:
        assert numbers(source) == [0, 1, 2, 3]
    path = tmp_path / "alpha.mov"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "argb"
        for _ in range(3):
            rgba = np.zeros((32, 64, 4), np.uint8)
            rgba[:, 32:] = (0, 0, 255, 255)
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with open_video(path) as source:
        pixels = next(source.stream()).pixels
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[0, 60].tolist() == [0, 0, 255]


@pytest.mark.parametrize("pix_fmt", ["rgb48be", "rgba64be", "gray16be"])
def test_sixteen_bit_pngs(tmp_path, pix_fmt):
    path = write_clip(tmp_path / "v.mov", 6, codec="png", pix_fmt=pix_fmt)
    with open_video(path) as source:
        assert numbers(source) == list(range(6)) and source.warnings == []


def test_pixel_format_change_in_mid_stream(tmp_path):
    kinds = ("RGB", "RGBA", "L", "P", "LA", "RGB")
    packets = []
    for kind, data in zip(kinds, encoded("PNG"), strict=True):
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).convert(kind).save(file, "PNG")
        packets.append(file.getvalue())
    with open_video(write_pictures(tmp_path / "v.mov", packets, "png")) as source:
        assert numbers(source) == list(range(6)) and source.warnings == []
    first = write_clip(tmp_path / "a.ts", 5)
    second = write_clip(tmp_path / "b.ts", 5, pix_fmt="yuv444p10le", first_seconds=2.0)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with open_video(path) as source:
        assert numbers(source) == 2 * list(range(5)) and source.warnings == []


def test_size_change_in_mid_stream(tmp_path):
    first = write_clip(tmp_path / "a.ts", 5, size=(96, 64))
    second = write_clip(tmp_path / "b.ts", 5, size=(192, 128), first_seconds=2.0)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with open_video(path) as source:
        shapes = {frame.pixels.shape for frame in source.stream()}
        assert shapes == {(64, 96, 3)}
        assert any("size changes" in warning for warning in source.warnings)
