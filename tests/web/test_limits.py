import pytest

from stvg_r1_hub.errors import QueryError, VideoError
from stvg_r1_hub.video import open_video
from stvg_r1_hub.web import limits
from stvg_r1_hub.web.limits import Limits, check_video, split_queries
from tests.killing import killing_file, make_children_careless
from tests.media import write_clip


def test_a_fitting_video_is_described(tmp_path):
    info = check_video(write_clip(tmp_path / "a.mp4", 20), Limits())
    assert info.duration_seconds == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_bytes=100), "MB"),
        (Limits(max_seconds=1.5), "2 s long; at most 2 s|at most"),
        (Limits(max_pixels=96 * 63), "96 x 64 pixels"),
    ],
)
def test_caps(tmp_path, limits, words):
    with pytest.raises(VideoError, match=words):
        check_video(write_clip(tmp_path / "a.mp4", 20), limits)


def test_the_size_is_checked_before_decoding(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "a.mp4", 20)
    monkeypatch.setattr(limits, "TRIALS", None)
    with pytest.raises(VideoError, match="MB"):
        check_video(path, Limits(max_bytes=100))


def test_an_upload_is_tried_once_and_again_when_it_is_another(tmp_path, monkeypatch):
    path, tried = write_clip(tmp_path / "a.mp4", 20), []
    monkeypatch.setattr(limits.TRIALS, "open", lambda path: tried.append(path) or open_info(path))
    for n_frames in (20, 20, 10):
        if n_frames == 10:
            write_clip(path, 10)
        assert check_video(path, Limits()).n_frames == n_frames
    assert tried == [str(path)] * 2


def open_info(path):
    with open_video(path) as source:
        return source.info


def test_our_folders_are_not_named(tmp_path, monkeypatch):
    path = killing_file(tmp_path / "deadly.mov")
    make_children_careless(tmp_path, monkeypatch)
    limits.TRIALS.close()
    with pytest.raises(VideoError, match="makes the video decoder crash") as said:
        check_video(path, Limits())
    assert str(tmp_path) not in str(said.value)
    limits.TRIALS.close()


def test_no_video_and_gone_video(tmp_path):
    with pytest.raises(VideoError, match="no video yet"):
        check_video(None, Limits())
    with pytest.raises(VideoError, match="gone"):
        check_video(tmp_path / "gone.mp4", Limits())


def test_queries_one_a_line():
    assert split_queries(" the dog \n\n a car\nthe dog", Limits()) == ["the dog", "a car"]


@pytest.mark.parametrize("text", [None, "", " \n \n", "\u200b"])
def test_no_query(text):
    with pytest.raises(QueryError):
        split_queries(text, Limits())


def test_too_many_or_too_long():
    with pytest.raises(QueryError, match="9 descriptions; at most 8"):
        split_queries("\n".join(map(str, range(9))), Limits())
    with pytest.raises(QueryError, match="10000 characters"):
        split_queries("x" * 10_000, Limits())
