"""Opening anything that is a video, and refusing the rest; samples of it."""

from __future__ import annotations

import http.server
import io
import os
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.errors import VideoError
from stvg_r1_hub.video import SampleBuffer, open_video, plan_for, read_frames
from stvg_r1_hub.video import download as video_download
from stvg_r1_hub.video import source as video_source
from tests.media import number_of, numbers, one_sentence, picture, write_audio_only, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "h264.mp4", 30)


def test_bytes_and_file_objects_equal_the_path(clip):
    path = clip
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


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_a_value(tmp_path, kind):
    for i in range(5):
        grey = np.asarray(Image.fromarray(picture(i)).convert("L")).astype(np.uint16)
        Image.fromarray(grey * 257).save(tmp_path / f"{i}.{kind}")
    assert numbers(open_video(tmp_path, fps=5)) == list(range(5))
    Image.fromarray(grey / np.float32(255)).save(tmp_path / "9.tif")
    with pytest.raises(VideoError, match="32 bits") as error:
        numbers(open_video(tmp_path, fps=5))
    assert one_sentence(error)


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


def test_a_sample_is_filled_in_any_order_and_never_incomplete(clip):
    path = clip
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


def test_large_sample_is_kept_smaller(clip, monkeypatch):
    monkeypatch.setattr(video_source, "MAX_SAMPLE_BYTES", 6 * 96 * 64 * 3 // 2)
    with open_video(write_big := clip) as source:
        plan = plan_for(source.info, SamplingConfig(min_pixels=28 * 28, total_pixels=28 * 28))
        small = [source.sample_pixels(f, plan).shape for f in source.stream(plan.frame_indices)]
        assert set(small) == {(45, 68, 3)}
        assert len(source.warnings) == 1 and "memory" in source.warnings[0]
    assert write_big.exists()


def test_tracking_rate_and_sample_come_from_one_pass(clip):
    opened = []
    with open_video(clip) as source:
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
    with av.open(str(tmp_path / "cover.mp4"), "w") as output:
        stream = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(1), format="rgb24")))
        output.mux(stream.encode())
    assert "only a cover" in refused(tmp_path / "cover.mp4")
    assert "2 frames" in refused(write_clip(tmp_path / "one.mp4", 1))
    dot = [np.zeros((1, 1, 3), np.uint8)] * 4
    assert "1x1" in refused(write_clip(tmp_path / "dot.mkv", dot, codec="ffv1", pix_fmt="bgr0"))
    assert len(list(open_video(write_clip(tmp_path / "two.mp4", 2)).stream())) == 2


def test_huge_pictures_are_refused_before_decoding(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "v.mp4", 3)
    monkeypatch.setattr("stvg_r1_hub.video.source.MAX_FRAME_PIXELS", 1000)
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


def test_closed_file_object_is_refused(clip):
    with clip.open("rb") as file:
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


def test_closed_source_says_so(clip):
    source = open_video(clip)
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
