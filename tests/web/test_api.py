"""The named endpoints, through `gradio_client` and by hand."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stvg_r1_hub.video import open_video
from tests.media import display_matrix, write_clip
from tests.web.bad_files import more_bad_files
from tests.web.conftest import Demo, Served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(page: str) -> Any:
    return new_client(page)


def new_client(page: str) -> Any:
    from gradio_client import Client

    return Client(page, verbose=False)


def upload(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(str(path))


def test_ground(client: Any, demo: Demo) -> None:
    results, videos = client.predict(
        video=upload(demo.clip), queries=f"{demo.query}\n{demo.query} ", api_name="/ground"
    )
    (result,) = results  # The same description is asked once.
    assert result["found"] and result["query"] == demo.query
    assert demo.overlap(result["start_seconds"], result["end_seconds"]) > 0.5
    assert {"frame_index", "time_seconds", "object_id", "xyxy"} <= set(result["boxes"][0])
    assert (result["model"], result["video"]["duration_seconds"]) == ("tiny", 4.0)
    assert [thing["class"] for thing in result["objects"]] == ["dog"]
    with open_video(demo.clip) as given, open_video(videos[0]) as drawn:
        assert drawn.info.n_frames == given.info.n_frames


def test_same_answer_as_the_package(client: Any, demo: Demo) -> None:
    from stvg_r1_hub import STVGPipeline

    direct = STVGPipeline.from_pretrained("tiny")(demo.query, demo.clip).to_dict()
    (served,), _ = client.predict(video=upload(demo.clip), queries=demo.query, api_name="/ground")
    for values in (direct, served):
        del values["timings"]
    assert served == json.loads(json.dumps(direct))


def test_choices(client: Any) -> None:
    choices = client.predict(api_name="/choices")
    assert choices["models"] == ["tiny"]
    assert "auto" in choices["trackers"]


def test_only_the_documented_endpoints_are_public(client: Any) -> None:
    info = client.view_api(return_format="dict")
    assert set(info["named_endpoints"]) == {"/ground", "/choices"}
    parameters = info["named_endpoints"]["/ground"]["parameters"]
    assert [p["parameter_name"] for p in parameters][:3] == ["video", "queries", "model"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"queries": "  "}, "Describe what to look for"),
        ({"queries": "x" * 10_000}, "10000 characters"),
        ({"tracker": "/etc"}, "not in the list"),
        ({"model": "someone/else"}, "not in the list"),
        ({"video": None}, "no video yet"),
    ],
)
def test_mistakes_are_one_sentence(
    client: Any, demo: Demo, values: dict[str, Any], words: str
) -> None:
    from gradio_client.exceptions import AppError

    arguments = {"video": upload(demo.clip), "queries": demo.query, **values}
    with pytest.raises(AppError, match=words) as caught:
        client.predict(**arguments, api_name="/ground")
    assert "Traceback" not in str(caught.value)


def test_bad_files_are_one_sentence_each(client: Any, demo: Demo, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    for name, path in more_bad_files(tmp_path).items():
        with pytest.raises(AppError) as caught:
            client.predict(video=upload(path), queries=demo.query, api_name="/ground")
        said = str(caught.value)
        assert len(said) > 20 and "\n" not in said and "Traceback" not in said, (name, said)
        assert "/gradio/" not in said, (name, said)  # Not where the server keeps it.
    (result,), _ = client.predict(video=upload(demo.clip), queries=demo.query, api_name="/ground")
    assert result["found"]  # The next visitor does not notice.


def test_odd_videos_are_no_problem(client: Any, tmp_path: Path) -> None:
    quarter_turn = display_matrix(0, 1, -1, 0)
    odd = {
        "upright": write_clip(tmp_path / "phone.mov", 12, fps=60, matrix=quarter_turn, audio="aac"),
        "web": write_clip(tmp_path / "web.webm", 12, codec="libvpx-vp9", audio="libopus"),
        "animation": write_clip(tmp_path / "a.gif", 12, codec="gif", pix_fmt="rgb8"),
    }
    for name, path in odd.items():
        (result,), videos = client.predict(
            video=upload(path), queries="the dog jumping", api_name="/ground"
        )
        assert not result["found"] and not videos, name  # What has no answer is not drawn.
        assert "No object was found" in result["warnings"][-1]
        with open_video(path) as given:
            info = given.info
        seen = result["video"]
        assert (seen["width"], seen["height"]) == (info.width, info.height)
        assert (seen["height"] > seen["width"]) == (name == "upright")
        assert seen["duration_seconds"] == pytest.approx(info.duration_seconds)


def test_a_visit_does_not_grow_with_its_questions(
    client: Any, served: Served, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "numbers.mp4", 6)
    for query in ("the dog", "the frog"):
        client.predict(video=upload(clip), queries=query, api_name="/ground")
    assert not served.widgets_kept() - {"Radio"}  # No list of boxes, no file.


def test_addresses_are_not_fetched(client: Any, page: str) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="Addresses are not fetched"):
        client.predict(video=handle_file(f"{page}x.mp4"), queries="x", api_name="/ground")


def test_files_of_the_server_are_out_of_reach(page: str, demo: Demo) -> None:
    """A request made by hand can neither read a file nor have it taken as an upload."""
    for path in ("/etc/passwd", str(demo.clip), "../../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{page}gradio_api/file={path}", timeout=20)
        assert caught.value.code in (403, 404)
    file = {"path": str(demo.clip), "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file, demo.query, "tiny", "auto", False, 0]}
    request = urllib.request.Request(
        f"{page}gradio_api/call/ground",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    event = json.load(urllib.request.urlopen(request, timeout=20))["event_id"]
    answer = urllib.request.urlopen(f"{page}gradio_api/call/ground/{event}", timeout=60).read()
    assert b"event: error" in answer and b"object_ids" not in answer


def test_visitors_at_once_get_their_own_answers(page: str, demo: Demo, tmp_path: Path) -> None:
    from gradio_client import Client

    other = write_clip(tmp_path / "numbers.mp4", 30)  # Nothing in it that the model knows.

    def ask(path: Path) -> tuple[Path, Any]:
        results, videos = Client(page, verbose=False).predict(
            video=upload(path), queries=demo.query, api_name="/ground"
        )
        return path, (results[0], videos or [])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, [demo.clip, other, demo.clip, other]))
    for path, (result, videos) in answers:
        right = demo.overlap(result["start_seconds"] or 0, result["end_seconds"] or 0) > 0.5
        assert right == (path == demo.clip)
        assert [Path(video).is_file() for video in videos] == [True] * right


def test_a_client_that_goes_away_stops_the_work(
    client: Any, page: str, tmp_path: Path, demo: Demo
) -> None:
    long = write_clip(tmp_path / "long.mp4", 900, size=(640, 360))
    # A client of its own: what one has cancelled may end its next question too.
    job = new_client(page).submit(video=upload(long), queries="x", api_name="/ground")
    while not job.outputs() and not job.done():
        time.sleep(0.05)
    assert job.cancel()
    # Work on the long video would hold up the next visitor for much longer than this takes.
    (result,), _ = client.predict(video=upload(demo.clip), queries=demo.query, api_name="/ground")
    assert result["found"]
