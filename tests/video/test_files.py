"""Reading encoded files made here: every frame carries its own number."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.video import open_video, read_frames
from stvg_r1_hub.video.kinds import nal_headers
from stvg_r1_hub.video.packets import (
    Packets,
    packets_needed,
    timeline_in_order,
    timeline_of_packets,
)
from tests.media import (
    lie_about_duration,
    number_of,
    numbers,
    one_sentence,
    picture,
    write_clip,
)

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


@pytest.mark.parametrize("outlier", [2**62, -(2**62)])
def test_absurd_time_stamps_are_refused(tmp_path, outlier):
    data = bytearray(write_clip(tmp_path / "v.ivf", 12, codec="libvpx-vp9").read_bytes())
    second = 32 + 12 + int.from_bytes(data[32:36], "little")
    data[second + 4 : second + 12] = outlier.to_bytes(8, "little", signed=True)
    with pytest.raises(VideoError, match="span more than 4 hours") as error:
        open_video(bytes(data))
    assert one_sentence(error)


def test_b_frame_order_is_sorted_out():
    timeline = timeline_of_packets(packets_with([0, 4, 2, 1, 3, 5]))
    np.testing.assert_allclose(timeline.times, np.arange(6) / 10)


def test_nal_headers_of_both_kinds():
    assert nal_headers(b"\0\0\0\1\x67abc\0\0\1\x65xyz", 0) == [0x67, 0x65]
    assert nal_headers(b"\0\0\0\2\x67a\0\0\0\3\x65xy", 4) == [0x67, 0x65]
    assert nal_headers(b"\0\0\0\xff\x67a", 4) == [0x67]


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


GROUPS = {
    "closed": {"options": {"g": "10", "bf": "2"}},
    "open": {"options": {"x264-params": "open-gop=1:keyint=10:bframes=3"}},
    "refreshed": {"options": {"x264-params": "intra-refresh=1:keyint=10"}},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=10"}},
}


@pytest.mark.parametrize("name", ["v.mkv", "v.ts", "v.mp4"])
@pytest.mark.parametrize("how", GROUPS.values(), ids=GROUPS)
def test_a_stream_without_a_key_frame_at_its_start(tmp_path, name, how):
    """It begins with the first picture that a decoder makes, as other readers have it."""
    whole, cut = write_clip(tmp_path / f"whole-{name}", 30, **how), tmp_path / name
    with av.open(str(whole)) as given, av.open(str(cut), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        packets = [packet for packet in given.demux(video=0) if packet.size]
        for packet in packets[4:]:
            packet.stream = stream
            output.mux(packet)
    with av.open(str(cut)) as container:
        decoded = list(container.decode(video=0))
    with open_video(cut) as source:
        got = numbers(source)
        assert got == [number_of(frame.to_ndarray(format="rgb24")) for frame in decoded]
        assert got == list(range(got[0], 30)) and got[0] > 4
        times = np.array([frame.time for frame in decoded])
        np.testing.assert_allclose(source.info.frame_times, times - times[0], atol=1e-6)
        assert [w for w in source.warnings if "cannot be decoded" in w] == source.warnings != []


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_animated_avif_is_more_than_its_cover(tmp_path, mode):
    first, *more = [Image.fromarray(picture(i)).convert(mode) for i in range(6)]
    first.putalpha(200) if mode == "RGBA" else None
    first.save(tmp_path / "v.avif", save_all=True, append_images=more, duration=100)
    with open_video(tmp_path / "v.avif") as source:
        assert numbers(source) == list(range(6)) and source.info.duration_seconds == 0.6
        assert bool(source.warnings) == (mode == "RGBA")  # that transparency is another track


def test_colours_of_dolby_vision_are_said_to_be_wrong(tmp_path):
    odd = {"preset": "12", "svtav1-params": "lp=1:matrix-coefficients=15:color-primaries=9"}
    path = write_clip(tmp_path / "v.mp4", 6, codec="libsvtav1", options=odd)
    with open_video(path) as source:
        assert numbers(source) == list(range(6))
        assert ["Dolby Vision" in warning for warning in source.warnings] == [True]
    # A track that is Dolby Vision alone is called so, and FFmpeg then knows no decoder for it.
    path.write_bytes(path.read_bytes().replace(b"av01", b"dav1"))
    with pytest.raises(VideoError, match="a kind that cannot be decoded") as error:
        open_video(path)
    assert one_sentence(error)


@pytest.mark.parametrize("more", [True, False])
def test_webp_is_told_what_it_is(tmp_path, more):
    first, *rest = [Image.fromarray(picture(i)) for i in range(3)]
    first.save(tmp_path / "v.mp4", "WEBP", save_all=more, append_images=rest)
    with pytest.raises(VideoError, match="is a WebP picture") as error:
        open_video(tmp_path / "v.mp4")
    assert one_sentence(error)


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
