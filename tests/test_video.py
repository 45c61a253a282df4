"""Reading and writing videos, on files made here; every frame carries its own number."""

from __future__ import annotations

import http.server
import io
import json
import os
import shutil
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub import video_download, video_source
from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import Cancelled, OutputError, VideoError
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.video import (
    SampleBuffer,
    open_video,
    plan_for,
    plan_sampling,
    read_frames,
    write_video,
)
from stvg_r1_hub.video_packets import (
    Packets,
    nal_headers,
    packets_needed,
    timeline_in_order,
    timeline_of_packets,
)
from stvg_r1_hub.video_sampling import constant_rate, pixel_limits, spread
from tests.media import (
    display_matrix,
    lie_about_duration,
    number_of,
    picture,
    red_corner,
    write_audio_only,
    write_clip,
)

GOLDEN = next((Path(__file__).parent / "golden").rglob("video_sampling.json"), None)


def numbers(source, indices=None):
    return [number_of(frame.pixels) for frame in source.stream(indices)]


def one_sentence(error) -> bool:
    text = str(error.value)
    return 20 < len(text) < 400 and "\n" not in text and text.endswith(".")


# ---------------------------------------------------------------- sampling


def options_to_sampling(options: dict) -> tuple[SamplingConfig, dict]:
    """The keys that qwen-vl-utils takes next to "video", as our records."""
    options = dict(options)
    rest = {
        "n_sampled": options.pop("nframes", None),
        "start_seconds": options.pop("video_start", None),
        "end_seconds": options.pop("video_end", None),
    }
    library = {"min_pixels": 128 * 28 * 28, "total_pixels": int(128000 * 28 * 28 * 0.9)}
    return SamplingConfig(**{**library, **options}), rest


@pytest.mark.skipif(GOLDEN is None, reason="golden data is not in the repository")
def test_golden_sampling():
    cases = json.loads(GOLDEN.read_text())["cases"]
    assert len(cases) >= 40
    for case in cases:
        sampling, rest = options_to_sampling(case["video_options"])
        arguments = (case["n_frames"], case["native_fps"], case["width"], case["height"])
        expected = case["expected"]
        if "error" in expected:
            with pytest.raises(VideoError):
                plan_sampling(*arguments, sampling, **rest)
            continue
        plan = plan_sampling(*arguments, sampling, **rest)
        assert list(plan.frame_indices) == expected["frame_indices"], case["name"]
        assert (plan.model_height, plan.model_width) == (
            expected["resized_height"],
            expected["resized_width"],
        )
        assert plan.sample_fps == expected["sample_fps"]
        assert pixel_limits(len(plan.frame_indices), sampling) == (
            expected["per_frame_min_pixels"],
            expected["per_frame_max_pixels"],
        )


def test_typical_clip_without_golden_data():
    plan = plan_sampling(500, 25.0, 1280, 720, SamplingConfig())
    assert plan.frame_indices[:3] == (0, 13, 26) and plan.frame_indices[-1] == 499
    assert (len(plan.frame_indices), plan.sample_fps) == (40, 2.0)
    assert (plan.model_height, plan.model_width) == (196, 364)


def test_size_factor_scales_the_rule():
    plan = plan_sampling(100, 25.0, 640, 480, SamplingConfig(size_factor=32))
    assert plan.model_height % 32 == 0 and plan.model_width % 32 == 0
    assert pixel_limits(8, SamplingConfig(size_factor=14))[1] == 768 * 14**2


def test_spread_is_torch_linspace():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    for _ in range(200):
        first = int(random.integers(0, 5000))
        last = first + int(random.integers(2, 200_000))
        count = 2 * int(random.integers(1, min(384, (last - first) // 2 + 1) + 1))
        expected = torch.linspace(first, last, count).round().long().tolist()
        assert spread(first, last, count) == expected


@pytest.mark.parametrize("fps", [-1.0, 0.0, float("nan"), float("inf")])
def test_bad_frame_rate(fps):
    with pytest.raises(VideoError):
        plan_sampling(100, fps, 64, 64, SamplingConfig())


def test_millisecond_clock_still_gives_forty_frames():
    times = np.round(np.arange(600) / 30, 3)
    assert constant_rate(times) == 30.0
    info = VideoInfo("v", 640, 360, times, float(times[-1]) + 0.034)
    plan = plan_for(info, SamplingConfig())
    assert len(plan.frame_indices) == 40 and plan.sample_fps == 2.0


def test_ntsc_rate_is_recognised():
    assert constant_rate(np.round(np.arange(599) * 1001 / 30000, 3)) == pytest.approx(30000 / 1001)


def test_variable_rate_is_sampled_evenly_in_time():
    times = np.array([i / 10 for i in range(20)] + [2 + i * 0.4 for i in range(10)])
    info = VideoInfo("v", 96, 64, times, 6.0)
    assert constant_rate(times) is None
    plan = plan_for(info, SamplingConfig())
    assert len(plan.frame_indices) == 12
    gaps = np.abs(times[list(plan.frame_indices)] - np.linspace(0, times[-1], 12))
    assert gaps.max() < 0.4  # what is on the screen at that time
    assert plan.sample_fps == pytest.approx(2.0)


def test_frame_shown_for_long_is_repeated():
    info = VideoInfo("v", 96, 64, np.array([0, 8, 8.1, 8.2, 8.3, 8.4, 8.5, 8.6]), 8.7)
    assert plan_for(info, SamplingConfig()).frame_indices.count(0) > 3


# ---------------------------------------------------------------- reading files

CONTAINERS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.flv": {},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=8"}},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "7"}},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "b_frames.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "tenbit.mkv": {"pix_fmt": "yuv420p10le"},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {name: write_clip(folder / name, 30, **how) for name, how in CONTAINERS.items()}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_frame_in_order_with_its_time(clips, name):
    with open_video(clips[name]) as source:
        assert source.info.n_frames == 30
        assert (source.info.width, source.info.height) == (96, 64)
        frames = list(source.stream())
    assert [number_of(frame.pixels) for frame in frames] == list(range(30))
    assert [frame.frame_index for frame in frames] == list(range(30))
    np.testing.assert_allclose([f.time_seconds for f in frames], np.arange(30) / 10, atol=1.1e-3)
    assert source.info.duration_seconds == pytest.approx(3.0, abs=0.02)
    assert frames[0].pixels.dtype == np.uint8 and frames[0].pixels.flags.writeable


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_sample_equals_the_same_frames_of_a_full_pass(clips, name):
    with open_video(clips[name]) as source:
        everything = [frame.pixels for frame in source.stream()]
        for wanted in ([0], [29], [3, 4, 17], [7, 8, 15, 22], list(range(0, 30, 5))):
            got = list(source.stream(wanted))
            assert [frame.frame_index for frame in got] == wanted
            for frame in got:
                assert np.array_equal(frame.pixels, everything[frame.frame_index])
        assert source.warnings == []


@pytest.mark.parametrize("extra", ["", "open-gop=1:", "intra-refresh=1:"])
def test_sample_is_exact_whatever_the_reference_structure(tmp_path, extra):
    random = np.random.default_rng(3)
    noise = [random.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(60)]
    path = write_clip(
        tmp_path / "v.mkv", noise, options={"x264-params": f"{extra}keyint=9:bframes=4"}
    )
    with open_video(path) as source:
        everything = [frame.pixels for frame in source.stream()]
        for start in range(7):
            for frame in source.stream(list(range(start, 60, 7))):
                assert np.array_equal(frame.pixels, everything[frame.frame_index])


def test_sparing_really_leaves_packets_out(clips):
    with open_video(clips["prores.mov"]) as source:
        send = packets_needed(source._packets, source._timeline, [3, 20])
        assert np.flatnonzero(send.packets).tolist() == [3, 20]
    with open_video(clips["h264.mp4"]) as source:
        send = packets_needed(source._packets, source._timeline, [20])
        assert send is not None and 1 < send.packets.sum() < 15


def test_wrong_flags_cost_time_but_never_a_frame(clips):
    with open_video(clips["h264.mp4"]) as source:
        whole = [frame.pixels for frame in source.stream()]
        source._packets.starts = [True] * 30  # as if decoding could begin anywhere
        got = list(source.stream([5, 14, 29]))
    assert [frame.frame_index for frame in got] == [5, 14, 29]
    assert got[0].pixels.shape == whole[5].shape


def test_variable_frame_times(tmp_path):
    times = [i / 10 for i in range(20)] + [2 + i * 0.4 for i in range(10)]
    path = write_clip(tmp_path / "v.mp4", 30, times=times)
    with open_video(path) as source:
        np.testing.assert_allclose(source.info.frame_times, times, atol=1e-4)
        frames = read_frames(path, SamplingConfig())
    assert [number_of(p) for p in frames.pixels] == frames.frame_indices.tolist()
    np.testing.assert_allclose(frames.times_seconds, np.array(times)[frames.frame_indices])


def test_decimal_times_are_exact():
    # 1/15360 is FFmpeg's clock for 30 fps; a product with it falls below 0.3, 0.6, ...
    packets = Packets(Fraction(1, 15360), 10.0, False, False)
    packets.pts = [1536 * i for i in range(500)]
    packets.shown, packets.durations = [True] * 500, [1536] * 500
    timeline = timeline_of_packets(packets)
    assert timeline.times.tolist() == [float(f"{i / 10:.1f}") for i in range(500)]


@pytest.mark.parametrize("name", ["v.ts", "v.mkv"])
def test_first_frame_is_at_zero(tmp_path, name):
    path = write_clip(tmp_path / name, 12, first_seconds=5.0)
    with open_video(path) as source:
        assert source.info.frame_times[0] == 0.0
        assert source.start_seconds >= 5.0
        assert numbers(source) == list(range(12))


def test_wrong_durations_in_the_header_do_not_matter(tmp_path):
    path = lie_about_duration(write_clip(tmp_path / "v.mp4", 12), 100_000)
    with open_video(path) as source:
        assert (source.info.n_frames, source.info.duration_seconds) == (12, pytest.approx(1.2))
        assert numbers(source) == list(range(12))


def test_raw_stream_without_times(tmp_path):
    path = write_clip(tmp_path / "v.h264", 12, container="h264")
    with open_video(path) as source:
        assert numbers(source) == list(range(12))
        assert any("no time stamps" in warning for warning in source.warnings)


def packets_with(pts):
    count = len(pts)
    return Packets(
        Fraction(1, 10), 10.0, False, False, pts, [True] * count, [1] * count, [False] * count,
        [False] * count,
    )  # fmt: skip


@pytest.mark.parametrize(
    "pts",
    [
        [0, 1, None, 3, 4, 5],
        [0, 1, 1, 3, 4, 5],
        [0, 1, 99999, *range(3, 80)],
        [*range(1000, 1100), *range(100)],
    ],
    ids=["missing", "twice", "outlier", "jump back"],
)
def test_broken_time_stamps_are_repaired(pts):
    packets = packets_with(pts)
    assert timeline_of_packets(packets) is None
    notes: list[str] = []
    timeline = timeline_in_order(pts, packets, notes)
    assert len(timeline.times) == len(pts) and notes
    np.testing.assert_allclose(timeline.times, np.arange(len(pts)) / 10, atol=1e-9)


def test_b_frame_order_is_sorted_out():
    timeline = timeline_of_packets(packets_with([0, 4, 2, 1, 3, 5]))
    np.testing.assert_allclose(timeline.times, np.arange(6) / 10)


def test_nal_headers_of_both_kinds():
    assert nal_headers(b"\0\0\0\1\x67abc\0\0\1\x65xyz", 0) == [0x67, 0x65]
    assert nal_headers(b"\0\0\0\2\x67a\0\0\0\3\x65xy", 4) == [0x67, 0x65]
    assert nal_headers(b"\0\0\0\xff\x67a", 4) == [0x67]


ORIENTATIONS = {  # a, b, c, d of the display matrix -> size, where the lower left corner goes
    "none": ((1, 0, 0, 1), (96, 64), "lower left"),
    "clockwise": ((0, 1, -1, 0), (64, 96), "upper left"),
    "half turn": ((-1, 0, 0, -1), (96, 64), "upper right"),
    "counter": ((0, -1, 1, 0), (64, 96), "lower right"),
    "mirrored": ((-1, 0, 0, 1), (96, 64), "lower right"),
    "upside down": ((1, 0, 0, -1), (96, 64), "upper left"),
    "transposed": ((0, 1, 1, 0), (64, 96), "upper right"),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_rotation_and_mirroring(tmp_path, name):
    matrix, size, corner = ORIENTATIONS[name]
    path = write_clip(tmp_path / "v.mp4", 4, matrix=display_matrix(*matrix))
    with open_video(path) as source:
        assert (source.info.width, source.info.height) == size
        pixels = next(source.stream()).pixels
        assert pixels.shape == (size[1], size[0], 3)
        assert red_corner(pixels) == corner


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


def test_size_change_in_mid_stream(tmp_path):
    first = write_clip(tmp_path / "a.ts", 5, size=(96, 64))
    second = write_clip(tmp_path / "b.ts", 5, size=(192, 128), first_seconds=2.0)
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with open_video(path) as source:
        shapes = {frame.pixels.shape for frame in source.stream()}
        assert shapes == {(64, 96, 3)}
        assert any("size changes" in warning for warning in source.warnings)


def test_damage_is_survived_and_told(tmp_path):
    random = np.random.default_rng(0)
    noise = [random.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(30)]
    path = write_clip(tmp_path / "v.mp4", noise)
    data = bytearray(path.read_bytes())
    middle = data.find(b"mdat") + len(data) // 2
    data[middle : middle + 6000] = bytes(6000)
    with open_video(bytes(data)) as source:
        frames = list(source.stream())
        assert len(frames) == 30
        assert any("damaged" in warning for warning in source.warnings)


def test_file_cut_off_in_the_middle(tmp_path):
    whole = write_clip(tmp_path / "v.mp4", 30, container_options={"movflags": "faststart"})
    data = whole.read_bytes()
    cut = data[: len(data) - (len(data) - data.find(b"mdat")) // 3]
    with open_video(cut) as source:
        got = numbers(source)
        assert 2 <= source.info.n_frames <= 30 and len(got) == source.info.n_frames
        assert got[:5] == [0, 1, 2, 3, 4]


def test_several_video_streams(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(6):
            for j, stream in enumerate(streams):
                frame = av.VideoFrame.from_ndarray(picture(i + 100 * j), format="rgb24")
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode())
    with open_video(path) as source:
        assert numbers(source) == list(range(6))
        assert any("2 video streams" in warning for warning in source.warnings)


# ---------------------------------------------------------------- other sources


def test_bytes_and_file_objects_equal_the_path(clips):
    path = clips["h264.mp4"]
    assert numbers(open_video(path.read_bytes())) == list(range(30))
    with path.open("rb") as file:
        source = open_video(file)
        one, two = source.stream(), source.stream()  # side by side on one file object
        pairs = [(number_of(a.pixels), number_of(b.pixels)) for a, b in zip(one, two, strict=True)]
    assert pairs == [(i, i) for i in range(30)]


def test_arrays_lists_and_images():
    stack = np.stack([picture(i) for i in range(5)])
    for frames in (stack, list(stack), [Image.fromarray(rgb) for rgb in stack]):
        source = open_video(frames, fps=4)
        assert numbers(source, [1, 3]) == [1, 3]
        assert source.info.frame_times.tolist() == [0, 0.25, 0.5, 0.75, 1.0]
        assert source.info.duration_seconds == 1.25


def test_folder_in_natural_order(tmp_path):
    for i in range(12):
        Image.fromarray(picture(i)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    assert numbers(open_video(tmp_path, fps=5)) == list(range(12))


def test_stream_yields_each_wanted_frame_once_and_reports():
    seen = []
    source = open_video([picture(i) for i in range(6)], fps=2)
    got = [
        frame.frame_index
        for frame in source.stream([1, 1, 4], progress=lambda *step: seen.append(step))
    ]
    assert got == [1, 4] and seen == [("reading", 1, 2), ("reading", 2, 2)]
    for wrong in ([3, 1], [6], [-1]):
        with pytest.raises(VideoError):
            list(source.stream(wrong))
    assert list(source.stream([])) == []


def test_a_sample_is_filled_in_any_order_and_never_incomplete(clips):
    path = clips["h264.mp4"]
    with open_video(path) as source:
        plan = plan_for(source.info, SamplingConfig())
        whole, partial = SampleBuffer(plan, source.info), SampleBuffer(plan, source.info)
        for frame in reversed(list(source.stream())):
            whole.add(frame.frame_index, frame.pixels)
            if frame.frame_index != plan.frame_indices[2]:
                partial.add(frame.frame_index, frame.pixels)
        frames = whole.frames()
        direct = read_frames(path, SamplingConfig())
        assert np.array_equal(frames.pixels, direct.pixels)
        assert frames.frame_indices.tolist() == list(plan.frame_indices)
        with pytest.raises(VideoError, match=f"without frame {plan.frame_indices[2]}") as error:
            partial.frames()
        assert one_sentence(error)
        with pytest.raises(VideoError, match="all must be alike") as error:
            partial.add(plan.frame_indices[2], frames.pixels[0, :-1])
        assert one_sentence(error)


def test_large_sample_is_kept_smaller(clips, monkeypatch):
    monkeypatch.setattr(video_source, "MAX_SAMPLE_BYTES", 6 * 96 * 64 * 3 // 2)
    with open_video(write_big := clips["h264.mp4"]) as source:
        plan = plan_for(source.info, SamplingConfig(min_pixels=28 * 28, total_pixels=28 * 28))
        small = [source.sample_pixels(f, plan).shape for f in source.stream(plan.frame_indices)]
        assert set(small) == {(45, 68, 3)}
        assert len(source.warnings) == 1 and "memory" in source.warnings[0]
    assert write_big.exists()


def test_tracking_rate_and_sample_come_from_one_pass(clips):
    opened = []
    with open_video(clips["h264.mp4"]) as source:
        original = source.open_container
        source.open_container = lambda: opened.append(1) or original()
        plan = plan_for(source.info, SamplingConfig())
        wanted = sorted({*plan.frame_indices, *range(0, 30, 3)})
        assert [f.frame_index for f in source.stream(wanted)] == wanted
    assert len(opened) == 1


# ---------------------------------------------------------------- bad input


def refused(source, **arguments):
    with pytest.raises(VideoError) as error:
        open_video(source, **arguments)
    assert one_sentence(error), str(error.value)
    return str(error.value)


def test_unreadable_files(tmp_path):
    make = tmp_path.joinpath
    make("zero.mp4").write_bytes(b"")
    make("noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    make("text.mp4").write_text("this is no video\n" * 50)
    good = write_clip(make("good.mp4"), 20)
    make("cut.mp4").write_bytes(good.read_bytes()[:1000])
    Image.fromarray(picture(1)).save(make("still.mp4"), format="png")
    make("page.mp4").write_text("<html><body>video</body></html>")
    for name in ("zero", "noise", "text", "cut", "still", "page"):
        refused(make(f"{name}.mp4"))
    refused(make("missing.mp4"))
    os.symlink(make("nowhere"), make("link.mp4"))
    refused(make("link.mp4"))
    assert "folder" in refused(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(make("pipe.mp4"))
        assert "pipe" in refused(make("pipe.mp4"))
    assert "/dev/zero" in refused("/dev/zero")
    refused("a\0b.mp4")
    refused(b"")
    refused(b"short")
    refused(io.StringIO("text"))
    refused(good, fps=25)


def test_unusable_content(tmp_path):
    assert "video" in refused(write_audio_only(tmp_path / "sound.m4a"))
    assert "2 frames" in refused(write_clip(tmp_path / "one.mp4", 1))
    dot = [np.zeros((1, 1, 3), np.uint8)] * 4
    assert "1x1" in refused(write_clip(tmp_path / "dot.mkv", dot, codec="ffv1", pix_fmt="bgr0"))
    assert len(list(open_video(write_clip(tmp_path / "two.mp4", 2)).stream())) == 2


def test_huge_pictures_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "v.mp4", 3)
    monkeypatch.setattr("stvg_r1_hub.video_source.MAX_FRAME_PIXELS", 1000)
    assert "96x64" in refused(path)


def test_many_hours_are_refused(tmp_path):
    path = write_clip(tmp_path / "v.mkv", 4, times=[0, 1, 2, 5 * 3600])
    assert "hours" in refused(path)


@pytest.mark.parametrize(
    "address",
    ["http://example.com/v.mp4", "https://example.com/v.mp4", "file:///etc/passwd",
     "concat:a.mp4|b.mp4", "pipe:0", "-", "rtsp://x/y", "data:video/mp4;base64,AAAA"],
)  # fmt: skip
def test_addresses_are_refused(address):
    assert "local files" in refused(address)
    if not address.startswith("http"):
        refused(address, allow_url=True)


def secret_clip(tmp_path):
    return write_clip(tmp_path / "secret.mp4", 10)


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\nsecret.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>secret.mp4</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mkv"])
def test_playlists_cannot_read_other_files(tmp_path, kind, suffix):
    write_clip(tmp_path / "secret.ts", 10)
    secret_clip(tmp_path)
    path = tmp_path / f"innocent{suffix}"
    path.write_text(PLAYLISTS[kind])
    refused(path)
    refused(path.read_bytes())
    with path.open("rb") as file:
        refused(file)


def test_the_playlist_attack_is_real(tmp_path):
    """Without our limits PyAV follows the script: the test above is not vacuous."""
    secret_clip(tmp_path)
    path = tmp_path / "innocent.mp4"
    path.write_text(PLAYLISTS["concat"])
    with av.open(str(path)) as container:
        assert number_of(next(container.decode(video=0)).to_ndarray(format="rgb24")) == 0


def test_bad_frames():
    good = np.stack([picture(i) for i in range(3)])
    assert "fps" in refused(good)
    assert "float" in refused(good.astype(np.float32) / 255, fps=5)
    assert "float" in refused(np.full((3, 64, 64, 3), np.nan), fps=5)
    assert "(F, H, W, 3)" in refused(good.transpose(0, 3, 1, 2), fps=5)
    assert "(F, H, W, 3)" in refused(good[0], fps=5)
    assert "2 frames" in refused(good[:1], fps=5)
    refused([], fps=5)
    refused([good[0], good[1][:32]], fps=5)
    refused([good[0], "frame.png"], fps=5)
    refused(["a", "b"], fps=5)
    refused(good[:, :8, :8], fps=5)
    refused(42)
    refused(np.array(42), fps=5)
    for fps in (0, -1, float("nan"), float("inf"), "ten", 10**30):
        assert "fps" in refused(good, fps=fps)


@pytest.mark.parametrize("fps", [np.float32(5), np.int64(5), Fraction(5)])
def test_any_real_number_is_a_rate(fps):
    source = open_video(np.stack([picture(i) for i in range(3)]), fps=fps)
    assert source.info.fps == 5 and source.info.frame_times.tolist() == [0, 0.2, 0.4]


def test_closed_file_object_is_refused(clips):
    with clips["h264.mp4"].open("rb") as file:
        pass
    assert "closed" in refused(file)


def test_bad_folders(tmp_path):
    refused(tmp_path, fps=5)
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    refused(tmp_path, fps=5)
    (tmp_path / "1.png").write_text("no picture")
    source = open_video(tmp_path, fps=5)
    with pytest.raises(VideoError, match=r"1\.png"):
        list(source.stream())


def test_closed_source_says_so(clips):
    source = open_video(clips["h264.mp4"])
    source.close()
    with pytest.raises(VideoError, match="closed"):
        next(source.stream())


# ---------------------------------------------------------------- downloads


@pytest.fixture
def server(tmp_path):
    write_clip(tmp_path / "v.mp4", 4)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def do_GET(self):
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_private_addresses_are_not_fetched(server):
    assert "no public address" in refused(f"{server}/v.mp4", allow_url=True)


def test_download_when_asked_for(server, monkeypatch):
    monkeypatch.setattr(video_download, "_check_public", lambda *_: None)
    assert numbers(open_video(f"{server}/v.mp4", allow_url=True)) == [0, 1, 2, 3]
    assert "404" in refused(f"{server}/none.mp4", allow_url=True)
    assert "only http" in refused(f"{server}/moved", allow_url=True)
    monkeypatch.setattr(video_download, "MAX_DOWNLOAD_BYTES", 100)
    assert "larger" in refused(f"{server}/v.mp4", allow_url=True)


# ---------------------------------------------------------------- writing

TIMES = [i / 10 for i in range(20)] + [2 + i * 0.4 for i in range(10)]


@pytest.mark.parametrize("name", ["v.mp4", "v.gif"])
def test_written_times_sizes_and_pictures_read_back(tmp_path, name):
    path = tmp_path / name
    steps = []
    write_video(
        path,
        (picture(i, 97, 65) for i in range(30)),
        TIMES,
        duration_seconds=6.5,
        progress=lambda *step: steps.append(step),
    )
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert steps[-1] == ("writing", 30, 30)
    with open_video(path) as source:
        np.testing.assert_allclose(source.info.frame_times, TIMES, atol=1e-4)
        assert source.info.duration_seconds == pytest.approx(6.5, abs=1e-3)
        even = (98, 66) if name == "v.mp4" else (97, 65)
        assert (source.info.width, source.info.height) == even
        assert numbers(source) == list(range(30))
        pixels = next(source.stream()).pixels
    assert np.abs(pixels[60, 4].astype(int) - [220, 20, 20]).max() < 12  # red stays red


def test_written_mp4_is_what_browsers_want(tmp_path):
    path = tmp_path / "v.mp4"
    write_video(path, [picture(i) for i in range(5)], TIMES[:5], duration_seconds=0.5)
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.canonical_name, context.pix_fmt) == ("h264", "yuv420p")
    if shutil.which("ffprobe"):
        report = subprocess.run(
            ["ffprobe", "-v", "error", "-show_entries", "stream=duration", str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "duration=0.500000" in report.stdout and not report.stderr


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [("s.mp4", "aac", "aac"), ("s.mkv", "libopus", "opus"), ("s.ts", "aac", "aac"),
     ("s.mkv", "pcm_s16le", "aac")],
)  # fmt: skip
def test_sound_is_kept(tmp_path, name, codec, kept):
    path = write_clip(tmp_path / name, 30, audio=codec)
    with open_video(path) as source:
        assert source.info.has_audio
        write_video(
            tmp_path / "out.mp4",
            (frame.pixels for frame in source.stream()),
            source.info.frame_times,
            duration_seconds=source.info.duration_seconds,
            audio_from=source,
        )
        assert source.warnings == []
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.codec.canonical_name == kept
        frames = list(container.decode(stream))
        seconds = sum(frame.samples for frame in frames) / frames[0].rate
        assert seconds == pytest.approx(3.0, abs=0.1)
        assert float(frames[0].time) == pytest.approx(0.0, abs=0.06)
        loudness = np.concatenate([f.to_ndarray().astype(float).ravel() for f in frames]).std()
        assert loudness > 0.05


def test_sound_is_cut_to_the_video_and_absent_without(tmp_path):
    with open_video(write_clip(tmp_path / "s.mp4", 30, audio="aac")) as source:
        frames = [picture(i) for i in range(10)]
        arguments = (frames, TIMES[:10])
        write_video(tmp_path / "a.mp4", *arguments, duration_seconds=1.0, audio_from=source)
        write_video(tmp_path / "b.mp4", *arguments, duration_seconds=1.0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1.0, abs=0.05)
    assert not open_video(tmp_path / "b.mp4").info.has_audio


def test_nothing_half_written_stays(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"earlier")
    frames = [picture(i) for i in range(10)]

    def stop(_stage, done, _total):
        if done == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        write_video(path, frames, TIMES[:10], duration_seconds=1, progress=stop)
    bad = [frames[0], frames[1][:32]]
    for given, times in ((bad, [0, 0.1]), (frames[:3], [0, 0.1]), (frames[:1], [0, 0.1])):
        with pytest.raises(VideoError) as error:
            write_video(path, given, times, duration_seconds=1)
        assert one_sentence(error)
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


@pytest.mark.parametrize(
    ("name", "times", "duration"),
    [("v.avi", [0, 1], 2), ("none/v.mp4", [0, 1], 2), ("v.mp4", [0, 0], 2), ("v.mp4", [1, 0], 2),
     ("v.mp4", [0, 1], 1), ("v.mp4", [], 1), ("v.mp4", [0, float("nan")], 2), ("", [0, 1], 2)],
)  # fmt: skip
def test_unwritable(tmp_path, name, times, duration):
    kind = VideoError if name == "v.mp4" else OutputError
    with pytest.raises(kind) as error:
        write_video(tmp_path / name, [picture(0)] * 2, times, duration_seconds=duration)
    assert one_sentence(error)
    assert list(tmp_path.iterdir()) == []


def test_write_protected_folder(tmp_path):
    if os.geteuid() == 0:
        folder = Path("/proc")  # not even root can write there
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
    with pytest.raises(OutputError) as error:
        write_video(folder / "v.mp4", [picture(0)] * 2, [0, 1], duration_seconds=2)
    assert one_sentence(error)
