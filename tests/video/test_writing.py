"""Results written to files, read back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from stvg_r1_hub.errors import Cancelled, OutputError, VideoError
from stvg_r1_hub.video import open_video, write_video
from tests.media import numbers, one_sentence, picture, write_clip

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
    [("v.avi", [0, 1], 2), ("file/v.mp4", [0, 1], 2), ("file/none/v.mp4", [0, 1], 2),
     ("v.mp4", [0, 0], 2), ("v.mp4", [1, 0], 2),
     ("v.mp4", [0, 1], 1), ("v.mp4", [], 1), ("v.mp4", [0, float("nan")], 2), ("", [0, 1], 2)],
)  # fmt: skip
def test_unwritable(tmp_path, name, times, duration):
    (tmp_path / "file").touch()
    kind = VideoError if name == "v.mp4" else OutputError
    with pytest.raises(kind) as error:
        write_video(tmp_path / name, [picture(0)] * 2, times, duration_seconds=duration)
    assert one_sentence(error)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["12:30.mp4", "http:x.gif", "new/folders/v.mp4", "%d.mp4"])
def test_any_name_in_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # a relative name could be taken for a protocol
    frames = [picture(i) for i in range(4)]
    write_video(name, frames, TIMES[:4], duration_seconds=1)
    assert Path(name).is_file() and numbers(open_video(name)) == list(range(4))


def test_write_protected_folder(tmp_path):
    if os.geteuid() == 0:
        folder = Path("/proc")  # not even root can write there
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
    with pytest.raises(OutputError) as error:
        write_video(folder / "v.mp4", [picture(0)] * 2, [0, 1], duration_seconds=2)
    assert one_sentence(error)
