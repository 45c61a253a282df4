"""What a result shows of itself."""

import inspect
import io
import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageShow

from stvg_r1_hub.errors import MissingPackageError
from stvg_r1_hub.geometry import encode_mask
from stvg_r1_hub.outputs import STYLES, styled
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.structures import Alternative, Box, Tracks, Tube
from stvg_r1_hub.video import open_video
from tests.builders import make_track

COUNT, FPS = 20, 10.0
WIDTH, HEIGHT = 96, 64


def result_of(*, found: bool = True, query: str = "the dog", name: str = "dog") -> GroundingResult:
    source = open_video(np.full((COUNT, HEIGHT, WIDTH, 3), 90, np.uint8), fps=FPS)
    box = [10.5, 20, 40, 60]
    track = make_track(3, range(COUNT), box, name=name, score=0.75)
    tracks = Tracks(WIDTH, HEIGHT, np.arange(COUNT) / FPS, (track,), tracker="fixed")
    boxes = tuple(Box(i, i / FPS, (10.5, 20, 40, 60), False, 3) for i in range(5, 10))
    return GroundingResult(
        query,
        Tube((3,), 0.5, 1.0, boxes) if found else None,
        "",
        {},
        () if found else ("No dog <was> found.",),
        info=source.info,
        tracks=tracks,
        video=source,
        confidence=0.5 if found else None,
        alternatives=(Alternative(4, 0.0, 1.0, 0.25),),
    )


@pytest.mark.parametrize("found", [True, False])
def test_a_notebook_shows_frames_words_and_a_timeline(found: bool) -> None:
    html = result_of(found=found)._repr_html_()
    assert html.count("data:image/webp") == 4 and "<svg" in html and ">3 dog<" in html
    assert ">2.00 s<" in html  # The end of the last frame, and not its begin.
    assert len(html) < 100_000
    assert ("object 3, 0.50 to 1.00 s, 5 boxes" if found else "not found") in html
    assert found or "No dog &lt;was&gt; found." in html


@pytest.mark.parametrize("found", [True, False])
def test_equal_is_what_says_the_same(found: bool) -> None:
    """A pickled copy, and another answer to the same question however long it took."""
    result = result_of(found=found)
    copy = replace(result, video="clip.mp4", timings={"answer": 3.0})
    assert pickle.loads(pickle.dumps(copy)) == copy == result and len({copy, result}) == 1
    assert result != result_of(found=not found) and result != result_of(found=found, name="cat")


def test_what_others_wrote_is_escaped() -> None:
    html = result_of(query="<script>x", name="<i>&")._repr_html_()
    assert "<script" not in html and "<i>" not in html and "3 &lt;i&gt;&amp;" in html


def test_a_video_that_is_gone_leaves_the_rest() -> None:
    html = replace(result_of(), video="gone.mp4")._repr_html_()
    assert "key frames are left out" in html and "<svg" in html and "data:image" not in html


def test_elsewhere_the_key_frames_open_in_a_viewer() -> None:
    shown = []

    class Viewer(ImageShow.Viewer):
        def show(self, image: Image.Image, **options: Any) -> int:
            shown.append((image.size, options["title"]))
            return 1

    ImageShow.register(Viewer(), order=0)
    try:
        result_of().show()
    finally:
        ImageShow._viewers.pop(0)
    ((size, title),) = shown
    assert size == result_of().keyframes().shape[1::-1] and title == "the dog"


def test_a_plot_without_a_path_is_a_figure_that_shows_itself() -> None:
    from matplotlib.figure import Figure

    figure = result_of().plot()
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_boxes_as_csv_and_as_motchallenge(tmp_path: Path) -> None:
    lines = result_of(name="dog, big").to_csv(tmp_path / "new" / "boxes.csv").splitlines()
    assert lines[0].startswith("frame,seconds,object_id,class,score,left,top")
    assert lines[1] == '5,0.5,3,"dog, big",0.75,10.5,20.0,40.0,60.0,False' and len(lines) == 6
    assert (tmp_path / "new" / "boxes.csv").read_text().splitlines() == lines
    assert result_of().to_mot().splitlines()[0] == "6,3,11.50,21.00,29.50,40.00,0.75,-1,-1,-1"


def test_motchallenge_is_read_back_by_its_tool(tmp_path: Path) -> None:
    motmetrics = pytest.importorskip("motmetrics")
    result_of().to_mot(tmp_path / "mot.txt")
    read = motmetrics.io.loadtxt(tmp_path / "mot.txt", fmt="mot15-2D")
    assert read.iloc[0][["X", "Y", "Width", "Height"]].tolist() == [10.5, 20, 29.5, 40]


def with_masks(result: GroundingResult) -> GroundingResult:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20:60, 12:40] = True
    assert result.tube is not None
    boxes = tuple(replace(box, mask=encode_mask(mask)) for box in result.boxes)
    return replace(result, tube=replace(result.tube, boxes=boxes, has_masks=True))


@pytest.mark.parametrize("masks", [True, False])
def test_coco_is_read_by_its_tool(masks: bool, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    result = with_masks(result_of()) if masks else result_of()
    result.to_coco(tmp_path / "coco.json")
    coco = COCO(str(tmp_path / "coco.json"))
    assert list(coco.imgs) == [5, 6, 7, 8, 9] and coco.cats[1]["name"] == "dog"
    (first,) = coco.imgToAnns[5]
    assert first["bbox"] == [10.5, 20, 29.5, 40] and first["track_id"] == 3
    if masks:
        assert coco.annToMask(first).sum() == first["area"] == 40 * 28


def test_what_was_not_found_exports_nothing() -> None:
    missed = result_of(found=False)
    assert len(missed.to_csv().splitlines()) == 1 and missed.to_mot() == ""
    assert json.loads(missed.to_coco())["annotations"] == []
    assert missed.to_supervision() == {}


def test_boxes_as_tables_of_other_libraries() -> None:
    pandas = pytest.importorskip("pandas")
    table = result_of().to_pandas()
    assert table.frame.tolist() == [5, 6, 7, 8, 9] and set(table["class"]) == {"dog"}
    assert table.equals(pandas.read_csv(io.StringIO(result_of().to_csv())))
    assert list(result_of(found=False).to_pandas().columns) == list(table.columns)
    found = with_masks(result_of()).to_supervision()
    assert list(found) == [5, 6, 7, 8, 9]
    assert found[5].tracker_id.tolist() == [3] and found[5].data["class_name"].tolist() == ["dog"]
    assert found[5].mask.sum() == 40 * 28


@pytest.mark.parametrize("name", ["pandas", "supervision"])
def test_a_missing_library_is_named_with_its_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=f"pip install {name}"):
        getattr(result_of(), f"to_{name}")()


def test_styles_are_options_of_a_video() -> None:
    known = inspect.signature(GroundingResult.save_video).parameters
    assert styled(STYLES).keys() < known.keys()
    assert styled(["plain", "moment"]) == {"boxes": False, "only_moment": True}
