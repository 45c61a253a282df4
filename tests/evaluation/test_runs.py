"""Whole runs with the bundled model: every layout, resumed, sharded, compared, reported."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from PIL import Image

from stvg_r1_hub import hub
from stvg_r1_hub.cli import main
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.evaluation.benchmarks.catalogue import BENCHMARKS, read_benchmark
from stvg_r1_hub.evaluation.benchmarks.hcstvg import read_hcstvg
from stvg_r1_hub.evaluation.benchmarks.mevis import read_mevis
from stvg_r1_hub.evaluation.compare import compare_runs, load_runs, paired_bootstrap
from stvg_r1_hub.evaluation.evaluator import Evaluator
from stvg_r1_hub.evaluation.options import NAMES
from stvg_r1_hub.evaluation.published import PUBLISHED, published_page
from stvg_r1_hub.evaluation.report import write_report
from stvg_r1_hub.evaluation.results import RunSettings, digest_of, iterate_lines, read_lines
from stvg_r1_hub.evaluation.runner import run
from stvg_r1_hub.geometry import decode_mask
from stvg_r1_hub.pipeline import STVGPipeline
from stvg_r1_hub.sprites.clips import true_tracks
from stvg_r1_hub.tracking import load_tracks, save_tracks
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.evaluation import layouts
from tests.tracking.worlds import save_official

ROOT = Path(__file__).parents[2]
RIGHT = {"tube": "viou", "time": "tiou", "mask": "j&f"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two clips in every layout."""
    folder = tmp_path_factory.mktemp("benchmarks")
    videos = folder / "videos"
    scenes = layouts.write_videos(videos, 2)
    split, tracks = layouts.mevis(folder / "mevis", scenes[:1])
    layouts.mevis_v2(split)
    (folder / "highlights.jsonl").write_text(layouts.qvhighlights_lines(scenes))
    ground = layouts.write_json(folder / "ground.json", layouts.anyground(scenes))
    lens = layouts.write_json(folder / "timelens.json", layouts.timelens(scenes)), videos
    vidstg = layouts.write_json(folder / "vidstg.json", layouts.vidstg(scenes))
    (folder / "charades.txt").write_text(layouts.charades_lines(scenes))
    hcstvg = [layouts.hcstvg(scenes, version=version) for version in (1, 2)]
    return {
        "scenes": scenes,
        "videos": videos,
        "tracks": tracks,
        "hcstvg-v1": (layouts.write_json(folder / "v1.json", hcstvg[0]), videos),
        "hcstvg-v2": (layouts.write_json(folder / "v2.json", hcstvg[1]), videos),
        "vidstg": (vidstg, videos),
        "vidstg-declarative": (vidstg, videos),
        "vidstg-interrogative": (vidstg, videos),
        "st-align": (layouts.write_json(folder / "a.json", layouts.stalign(scenes)), videos),
        "mevis": (split, split / "JPEGImages"),
        "mevis-v2": (split, split / "JPEGImages"),
        "v-star": (layouts.write_json(folder / "vs.json", layouts.vstar(scenes)), videos),
        "anygroundbench": (ground, videos),
        "charades-timelens": lens,
        "activitynet-timelens": lens,
        "qvhighlights-timelens": lens,
        "qvhighlights": (folder / "highlights.jsonl", videos),
        "charades-sta": (folder / "charades.txt", videos),
        "tvgbench": (layouts.write_json(folder / "t.json", layouts.tvgbench(scenes)), videos),
    }


def settings_for(benchmark, samples, **other):
    values = {
        "benchmark": benchmark.name, "title": benchmark.title, "task": benchmark.task,
        "model": "tiny", "model_fingerprint": "f" * 64, "tracker": "auto", "answers": "ids",
        "tracks": "", "seed": 0, "annotations_sha256": digest_of(samples),
        "first_frame_number": 1, "n_samples": len(samples),
    }  # fmt: skip
    return RunSettings(**values | other)


def run_benchmark(name, world, pipeline, out, **options):
    benchmark, annotations = read_benchmark(name, *world[name])
    samples = annotations.samples
    evaluator = Evaluator(pipeline, benchmark.task, benchmark=name, **options)
    run(evaluator, samples, settings_for(benchmark, samples), out)
    return list(iterate_lines(out)), samples


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_layout_runs_to_its_report(name, world, tiny, tmp_path):
    options = {"tracks": world["tracks"]} if name.startswith("mevis") else {}
    lines, samples = run_benchmark(name, world, tiny, tmp_path, **options)
    assert [line["sample_id"] for line in lines] == [s.sample_id for s in samples]
    assert [line["error"] for line in lines] == [None] * len(lines)
    page = write_report(tmp_path)
    for path in (page, page.with_suffix(".md")):
        text = path.read_text(encoding="utf-8")
        assert str(world["scenes"][-1 if "interrogative" in name else 0].query) in text
        assert all(row.model in text for row in PUBLISHED.get(name, ()))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["n"] == len(samples) and summary["n_failed"] == 0
    task = BENCHMARKS[name].task
    best = max(line["scores"]["strict"].get(RIGHT[task], 0) for line in lines)
    for protocol, figures in summary["protocols"].items():
        assert figures["n"] == len(samples), protocol
    # The model answers these clips; it was never taught questions about time alone.
    assert task == "time" or best > 0.7
    for picture in [*(tmp_path / "plots").glob("*.png"), *(tmp_path / "gallery").glob("*.png")]:
        assert picture.stat().st_size > 1000


def answers_of(scenes):
    """A function from prompt to the right answer with true IDs."""

    def answer(prompt):
        scene = next(s for s in scenes if s.query in prompt)
        start, end = scene.answer_range
        return (
            f"<think></think><answer>Target ID: {scene.target_id}, Time range: "
            f"{start} to {end}</answer>"
        )

    return answer


@pytest.mark.parametrize("name", ["charades-sta", "tvgbench"])
def test_right_times_score_1_also_in_a_part_of_a_video(name, world, tiny, tmp_path):
    items = layouts.tvgbench(world["scenes"])

    def answer(prompt):
        i, scene = next((i, s) for i, s in enumerate(world["scenes"]) if s.query in prompt)
        if name == "tvgbench":
            return items[i]["answer"].replace("-", " to ")
        return f"{scene.answer_range[0]} to {scene.answer_range[1]}"

    pipeline = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answer))
    lines, _ = run_benchmark(name, world, pipeline, tmp_path)
    for line in lines:
        assert line["scores"]["strict"]["tiou"] == pytest.approx(1, abs=0.02)
        assert line["scores"]["time-r1"]["tiou"] == pytest.approx(1, abs=0.02)


def test_prepared_tracks_are_used_also_for_a_part_of_a_video(world, tiny, tmp_path):
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    save_tracks(true_tracks(world["scenes"][0]), tracks / "0_clip.json")
    save_official(true_tracks(world["scenes"][1]), tracks / "1_clip" / "mask_data")
    pipeline = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answers_of(world["scenes"])))
    # The second clip starts at frame 2, but the scripted answer counts from the file's start.
    offset = 2 / world["scenes"][1].fps
    lines, _ = run_benchmark("vidstg", world, pipeline, tmp_path / "out", tracks=tracks)
    assert lines[0]["scores"]["strict"]["viou"] > 0.97
    assert lines[0]["oracles"]["best track"] > 0.99 and lines[0]["oracles"]["id correct"] == 1
    assert lines[1]["oracles"]["best track"] > 0.9
    shifted = lines[1]["answer"]["start_seconds"] - world["scenes"][1].answer_range[0]
    assert shifted == pytest.approx(offset, abs=1e-3)
    (tracks / "0_clip.json").unlink()
    lines, _ = run_benchmark("vidstg", world, pipeline, tmp_path / "without", tracks=tracks)
    assert "no prepared tracks for sample 100" in lines[0]["error"]
    assert lines[0]["scores"]["strict"] == {"tiou": 0, "viou": 0, "gt_viou": 0}
    assert lines[0]["scores"]["stvg-r1"] is None


@pytest.fixture
def all_or_one(world):
    """A function from prompt to the right IDs with a time range that is much too short."""
    scene = world["scenes"][0]
    everything = ", ".join(str(thing.object_id) for thing in scene.objects)

    def answer(prompt):
        ids = scene.target_id if scene.query in prompt else everything
        return f"<answer>Target ID: {ids}, Time range: 0.40 to 1.00</answer>"

    return answer


def test_a_split_without_public_masks_is_submitted(world, tiny, tmp_path, all_or_one):
    """The masks of all answered objects, in the whole clip, whatever time was answered."""
    split = world["mevis"][0]
    samples = read_mevis(split, split / "JPEGImages", with_masks=False).samples
    pipeline = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(all_or_one))
    evaluator = Evaluator(pipeline, "mask", tracks=world["tracks"], submission=tmp_path / "pngs")
    settings = settings_for(BENCHMARKS["mevis"], samples)
    run(evaluator, samples, settings, tmp_path / "out")
    lines = iterate_lines(tmp_path / "out")
    assert [(line["error"], line["scores"]["strict"]) for line in lines] == [(None, {})] * 2
    for number, sample in enumerate(read_mevis(split, split / "JPEGImages").samples):
        pictures = sorted((tmp_path / f"pngs/vid000/{number}").iterdir())
        masks = [np.asarray(Image.open(path)) > 0 for path in pictures]
        for mask, true in zip(masks, sample.masks, strict=True):
            assert np.array_equal(mask, decode_mask(true))
    assert "m_tIoU" not in write_report(tmp_path / "out").with_suffix(".md").read_text()


class BoxSegmenter:
    """Takes everything in an object's box for the object, in the frame where it is given."""

    name = "boxes"
    frame_steps = 0

    def open(self, height, width, n_frames):
        self.size = height, width
        return self

    def next_frame(self, pixels):
        return {}

    def masks_of_boxes(self, boxes):
        return [self.add(0, box=box) for box in boxes]

    def add(self, object_id, *, box=None, mask=None):
        left, top, right, bottom = (round(float(value)) for value in box)
        mask = np.zeros(self.size, bool)
        mask[top:bottom, left:right] = True
        return mask

    def drop(self, object_id):
        pass


def test_tracks_without_masks_get_theirs_in_the_whole_clip(world, tiny, tmp_path, all_or_one):
    """Each object's mask is made from its boxes, and several count together."""
    boxes_only = tmp_path / "tracks"
    boxes_only.mkdir()
    tracks = load_tracks(world["tracks"] / "vid000.json")
    bare = tuple(replace(track, masks=None) for track in tracks.tracks)
    save_tracks(replace(tracks, tracks=bare), boxes_only / "vid000.json")
    vlm = ScriptedVLM(all_or_one)
    pipeline = STVGPipeline(tiny.config, tiny.tracker, vlm, segmenter=BoxSegmenter())
    lines, _ = run_benchmark("mevis", world, pipeline, tmp_path / "out", tracks=boxes_only)
    assert [line["error"] for line in lines] == [None, None]
    assert len(lines[1]["answer"]["object_ids"]) == len(world["scenes"][0].objects) > 1
    assert [line["scores"]["mevis"]["j&f"] for line in lines] == pytest.approx([1, 1], abs=0.02)
    without = STVGPipeline(tiny.config, tiny.tracker, vlm)
    lines, _ = run_benchmark("mevis", world, without, tmp_path / "without", tracks=boxes_only)
    assert "there is no segmenter" in lines[0]["error"]
    assert lines[0]["scores"]["mevis"] == {"j": 0, "f": 0, "j&f": 0}


def test_written_boxes_as_baseline(world, tiny, tmp_path):
    """A model that writes the true boxes in the pixels it saw scores nearly 1."""
    samples = read_benchmark("hcstvg-v2", *world["hcstvg-v2"])[1].samples
    seen = []

    def answer(prompt):
        sample, scene = next(
            (a, b) for a, b in zip(samples, world["scenes"], strict=True) if a.query in prompt
        )
        frames = seen[-1]
        scale = frames.model_width / layouts.SIDE
        rows = [
            {"time": round(f / scene.fps, 2), "bbox_2d": [round(float(v) * scale) for v in box]}
            for f, box in list(sample.tube.items())[::5]
        ]
        values = {"start": sample.start_seconds, "end": sample.end_seconds, "boxes": rows}
        return f"Sure: {json.dumps(values)}"

    class Watching(ScriptedVLM):
        def encode(self, video):
            seen.append(video.frames)
            return super().encode(video)

    vlm = Watching(answer)
    pipeline = STVGPipeline(
        replace(tiny.config, generation=replace(tiny.config.generation, max_new_tokens=10_000)),
        tiny.tracker,
        vlm,
    )
    lines, _ = run_benchmark("hcstvg-v2", world, pipeline, tmp_path, answers="boxes")
    assert all("bbox_2d" in prompt for prompt in vlm.prompts)
    for line in lines:
        assert line["scores"]["strict"]["viou"] > 0.85
        assert line["scores"]["stvg-r1"] == {"tiou": 0, "viou": 0}
        assert line["oracles"] == {}
    assert "boxes written as text" in replace_settings(tmp_path, answers="boxes")


def replace_settings(folder, **changes):
    """The report of a run with other settings."""
    replace(RunSettings.load(folder), **changes).save(folder)
    return write_report(folder).with_suffix(".md").read_text()


def broken_world(world, folder):
    """A copy of the v2 annotations with every kind of sample that cannot be asked."""
    values = json.loads(world["hcstvg-v2"][0].read_text())
    first = values["0_clip.mp4"]
    other_size = {**first, "img_size": [999, 999]}
    late = {**first, "st_frame": 9000, "img_num": 10_000}
    videos = folder / "videos"
    videos.mkdir()
    for name in ("0_clip", "size", "late", "garbled"):
        target = videos / f"{name}.mp4"
        target.symlink_to(world["videos"] / "0_clip.mp4")
    (videos / "garbled.mp4").unlink()
    (videos / "garbled.mp4").write_bytes(b"no video at all" * 50)
    records = {
        "missing.mp4": first,
        "size.mp4": other_size,
        "late.mp4": late,
        "garbled.mp4": first,
        "0_clip.mp4": first,
    }
    return layouts.write_json(folder / "v2.json", records), videos


def test_samples_that_cannot_be_asked_score_0_and_are_listed(world, tiny, tmp_path):
    paths = broken_world(world, tmp_path)
    lines, _ = run_benchmark("hcstvg-v2", {"hcstvg-v2": paths}, tiny, tmp_path / "out")
    said = {line["sample_id"]: line["error"] for line in lines}
    assert "There is no video" in said["missing.mp4"]
    assert "999x999" in said["size.mp4"] and "size.mp4" in said["size.mp4"]
    assert "late.mp4" in said["late.mp4"] and "frame 8999" in said["late.mp4"]
    assert said["garbled.mp4"] and said["0_clip.mp4"] is None
    text = write_report(tmp_path / "out").with_suffix(".md").read_text()
    for name in ("missing.mp4", "size.mp4", "late.mp4", "garbled.mp4"):
        assert f"| {name} |" in text
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["n"], summary["n_failed"]) == (5, 4)
    assert summary["protocols"]["strict"]["n"] == 5
    assert summary["protocols"]["stvg-r1"]["n"] == 1  # the official script drops the others
    assert summary["protocols"]["strict"]["m_vIoU"] < 0.2 + 1e-6


@pytest.mark.slow
def test_wrong_annotations_are_set_aside_and_the_report_counts_them(world, tmp_path, capsys):
    """A file with boxes as HC-STVG v2's val split has them is evaluated to the end."""
    values = json.loads(world["hcstvg-v2"][0].read_text())
    boxes = values["0_clip.mp4"]["bbox"]
    boxes[-2:] = [[-40, 0, -27, -47], [-81, 0, -55, -95]]
    values["backwards.mp4"] = {**values["0_clip.mp4"], "st_time": 2.0, "ed_time": 1.0}
    values["empty.mp4"] = {**values["0_clip.mp4"], "bbox": [[0, 0, 0, 0]] * 3}
    path = layouts.write_json(tmp_path / "v2.json", values)
    out = tmp_path / "out"
    given = ["--annotations", path, "--videos", world["videos"], "--out", out]
    command_line = ["eval", "hcstvg-v2", *map(str, given), "--classes", "all", "--device", "cpu"]
    assert main([*command_line, "--strict"]) == 2
    assert "v2.json, 0_clip.mp4: frame" in capsys.readouterr().err
    assert not out.exists()
    assert main(command_line) == 0
    assert "set aside: records 2 of 4, boxes of the others 2." in capsys.readouterr().err
    text = (out / "report.md").read_text()
    assert "2 samples; every one counts." in text
    assert "set aside: records 2, boxes of its other records 2" in text
    assert "| backwards.mp4 |" in text and "| empty.mp4 |" in text
    frames = read_hcstvg(path, world["videos"]).samples[0].frame_range
    assert f"frames {frames[1] - 2}, {frames[1] - 1} (from 0); the first: \\[-40, 0," in text
    assert "backwards.mp4" in (out / "report.html").read_text()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["n"], summary["n_set_aside"], summary["n_boxes_set_aside"]) == (2, 2, 2)
    # The frames without a true box still count: nothing can be earned in them.
    line = read_lines(out)["0_clip.mp4"]
    assert line["oracles"]["best track"] <= (len(boxes) - 2) / len(boxes)
    assert line["scores"]["strict"]["gt_viou"] > line["oracles"]["best track"]


@pytest.mark.slow
def test_persons_are_the_objects_of_hcstvg(world, tmp_path, capsys):
    path, videos = world["hcstvg-v2"]
    given = ["--annotations", path, "--videos", videos, "--out", tmp_path, "--max-samples", 1]
    command_line = ["eval", "hcstvg-v2", *map(str, given), "--device", "cpu"]
    assert main(command_line) == 0
    assert "knows no class 'person'" in capsys.readouterr().err, "the tiny model's own detector"
    assert RunSettings.load(tmp_path).classes == "person"
    assert ", classes: person. Answers" in (tmp_path / "report.md").read_text()
    assert main([*command_line, "--classes", "all"]) == 2
    assert "classes was 'person', is 'all'" in capsys.readouterr().err
    # Tracks that are given are taken as they are.
    tracks = ["--tracks", str(tmp_path), "--out", str(tmp_path / "given")]
    assert main([*command_line, *tracks, "--classes", "person"]) == 2
    assert "Got --classes person with tracks that are given" in capsys.readouterr().err
    assert main([*command_line, *tracks]) == 0
    assert RunSettings.load(tmp_path / "given").classes == "all"


def test_a_crash_of_the_model_is_one_sample(world, tiny, tmp_path):
    def answer(prompt):
        if world["scenes"][0].query in prompt:
            raise RuntimeError("CUDA error: an illegal memory access")
        return answers_of(world["scenes"])(prompt)

    pipeline = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answer))
    lines, _ = run_benchmark("hcstvg-v1", world, pipeline, tmp_path)
    assert lines[0]["error"] == "RuntimeError: CUDA error: an illegal memory access"
    assert lines[1]["error"] is None


def test_results_of_another_run_are_refused(world, tiny, tmp_path):
    pipeline = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answers_of(world["scenes"])))
    run_benchmark("hcstvg-v2", world, pipeline, tmp_path)
    benchmark, annotations = read_benchmark("hcstvg-v2", *world["hcstvg-v2"])
    samples = annotations.samples
    evaluator = Evaluator(pipeline, "tube")
    for change in ({"model_fingerprint": "0" * 64}, {"seed": 4}, {"tracks": "other"}):
        with pytest.raises(ConfigError, match=next(iter(change))):
            run(evaluator, samples, settings_for(benchmark, samples, **change), tmp_path)
    with pytest.raises(ConfigError, match="annotations_sha256"):
        run(evaluator, samples[:1], settings_for(benchmark, samples[:1]), tmp_path)
    # Where the benchmark is on the Hub may be said when all is asked.
    run(evaluator, samples, settings_for(benchmark, samples, hub_dataset="me/world"), tmp_path)
    assert RunSettings.load(tmp_path).hub_dataset == "me/world"


def sprites(out, *more):
    return [*"eval sprites --seed 5 --n 5 --device cpu --out".split(), str(out), *more]


def without_times(folder):
    """What depends on the answers alone."""
    lines = read_lines(folder)
    for line in lines.values():
        del line["timings"], line["video"]
    names = ("report.md", "report.html", "summary.json")
    pictures = sorted([*(folder / "gallery").iterdir(), *(folder / "plots").iterdir()])
    cost = re.compile(r"## Cost.*?(?=## )|<section id=.cost.*?</section>", re.DOTALL)
    return (
        list(lines.items()),
        [cost.sub("", (folder / name).read_text()) for name in names],
        [(path.name, path.read_bytes()) for path in pictures],
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one process to its end."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(sprites(folder)) == 0
    return folder


@pytest.mark.slow
def test_killed_and_resumed_gives_the_identical_report(whole, tmp_path, capsys):
    killed = tmp_path / "killed"
    command_line = [sys.executable, "-m", "stvg_r1_hub.cli", *sprites(killed)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command_line, env=environment, stderr=subprocess.DEVNULL)
    results = killed / "results.jsonl"
    while process.poll() is None:
        if results.is_file() and results.read_bytes().count(b"\n") >= 2:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = results.read_bytes()
    assert 2 <= before.count(b"\n") < 4
    with results.open("ab") as file:
        file.write(b'{"sample_id": "easy-5-0000')  # as a kill within a write leaves it
    assert main(sprites(killed)) == 0
    assert results.read_bytes().startswith(before)
    assert without_times(killed) == without_times(whole)
    capsys.readouterr()

    assert main(["eval", "--compare", str(killed), str(whole)]) == 0
    table = capsys.readouterr().out
    assert "strict" in table and "+0.0000" in table and "*" not in table
    assert main(sprites(whole, "--answers", "boxes")) == 2
    assert "answers was 'ids', is 'boxes'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_on_true_tracks_says_so(tmp_path, capsys):
    assert main(sprites(tmp_path, "--true-tracks", "--max-samples", "2")) == 0
    text = (tmp_path / "report.md").read_text()
    assert "Tracks: true tracks." in text
    assert "| m\\_vIoU with both: the true tracks were given | 100.0 |" in text
    assert "what the tracker alone allows" not in text
    assert all(line["oracles"]["id correct"] for line in read_lines(tmp_path).values())
    assert main(sprites(tmp_path, "--max-samples", "2")) == 2
    assert "tracker was 'true tracks', is 'detector or coco'" in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_give_the_same_report_as_one(whole, tmp_path):
    several = tmp_path / "several"
    # What accelerate launch calls for several GPUs; with --cpu it starts a single process.
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
              "--standalone", "-m", "--", "stvg_r1_hub.cli"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *sprites(several)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("strict") == 1
    assert not list(several.glob("results.*.jsonl")), "the parts are merged"
    assert answers(several) == answers(whole)
    ours, theirs = (json.loads((f / "summary.json").read_text()) for f in (several, whole))
    assert ours["protocols"] == theirs["protocols"]


def answers(folder):
    """The lines without times, and without confidences, which tell a process from another."""
    text = json.dumps([{**line, "timings": 0, "video": 0} for line in read_lines(folder).values()])
    return json.loads(text, object_hook=lambda d: {k: v for k, v in d.items() if k != "confidence"})


@pytest.mark.parametrize(
    ("name", "metric", "protocols"),
    [
        ("hcstvg-v2", "m_vIoU", ("strict", "stvg-r1", "tubedetr", "stcat", "cgstvg")),
        ("charades-sta", "tIoU@0.7", ("strict", "time-r1", "tvgbench")),
        ("mevis", "J&F", ("strict", "mevis", "davis")),
    ],
)
def test_a_runs_figures_are_in_the_saved_models_card(
    name, metric, protocols, world, tiny, tmp_path
):
    scripted = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answers_of(world["scenes"][:1])))
    options = {"tracks": world["tracks"]} if name == "mevis" else {}
    benchmark, annotations = read_benchmark(name, *world[name])
    samples = annotations.samples
    settings = settings_for(
        benchmark, samples, model="/home/me/secret/best", tracks=str(options.get("tracks", "")),
        model_fingerprint=hub.fingerprint(hub.resolve("tiny"), tiny.config),
        hub_dataset="me/world", hub_task=name,
    )  # fmt: skip
    run(Evaluator(scripted, benchmark.task, **options), samples, settings, tmp_path / "out")
    write_report(tmp_path / "out")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    tiny.save_pretrained(tmp_path / "saved", results=tmp_path / "out")
    card = (tmp_path / "saved/README.md").read_text()
    assert f"`stvg eval {name}` with best (fingerprint {settings.model_fingerprint[:16]})" in card
    assert f"{summary['n']} samples, {summary['n_failed']} of them failed" in card
    assert "secret" not in card and str(world["tracks"].parent) not in card
    assert ("prepared tracks tracks" if options else "tracker auto") in card
    header = next(line for line in card.splitlines() if line.startswith("| protocol |"))
    column = header.strip("| ").split(" | ").index(metric)
    rows = {line.split()[1]: line for line in card.splitlines() if line.startswith("| ")}
    for protocol in protocols:
        figures = summary["protocols"][protocol]
        cells = [cell.strip() for cell in rows[protocol].strip("| ").split("|")]
        assert cells[:2] == [protocol, str(figures["n"])]
        if metric in figures:
            assert cells[column] == f"{100 * figures[metric]:.1f}"
    # The first of the task's headline figures, in the Hub's own format.
    entries = yaml.safe_load((tmp_path / f"saved/.eval_results/stvg-{name}.yaml").read_text())
    (entry,) = parse_eval_result_entries(entries)
    strict = summary["protocols"]["strict"]
    headline = {"hcstvg-v2": "m_vIoU", "charades-sta": "m_tIoU", "mevis": "J&F"}[name]
    assert (entry.dataset_id, entry.task_id) == ("me/world", name)
    assert entry.value == round(100 * strict[headline], 2) and entry.notes.startswith(headline)
    # The same figures from the file, whatever folder it is in.
    shutil.copy(tmp_path / "out/summary.json", tmp_path / "copy.json")
    tiny.save_pretrained(tmp_path / "again", results=tmp_path / "copy.json")
    assert (tmp_path / "again/README.md").read_text() == card


def test_compare_finds_a_difference_and_its_interval(world, tiny, tmp_path):
    right = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(answers_of(world["scenes"])))
    wrong = STVGPipeline(tiny.config, tiny.tracker, ScriptedVLM(["no idea"]))
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    for i, scene in enumerate(world["scenes"]):  # whose numbers the answers say
        save_tracks(true_tracks(scene), tracks / f"{i}_clip.json")
    for name, pipeline in (("a", wrong), ("b", right)):
        run_benchmark("hcstvg-v2", world, pipeline, tmp_path / name, tracks=tracks)
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "a"]
    rows = {(row.protocol, row.metric): row for row in compare_runs(load_runs(folders))}
    row = rows["strict", "tIoU"]
    assert row.means[0] == row.means[2] == 0 and row.means[1] > 0.9
    assert row.beyond_chance == (True, False) and row.differences[1] == 0
    (low, high), _ = row.intervals
    assert low <= row.differences[0] <= high
    page = tmp_path / "page"
    assert main(["eval", "--compare", *map(str, folders), "--page", str(page)]) == 0
    html = (page / "compare.html").read_text()
    assert "B - A" in html and "C - A" in html and html.count("<img") == len([*page.glob("*.png")])
    run_benchmark("charades-sta", world, right, tmp_path / "c")
    with pytest.raises(ConfigError, match="same benchmark"):
        load_runs([tmp_path / "a", tmp_path / "c"])


def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for i in range(200):
        a = rng.uniform(0, 1, 60)
        low, high = paired_bootstrap(a, a + rng.normal(0.1, 0.3, 60), seed=i, resamples=500)
        held += low <= 0.1 <= high
    assert 0.88 <= held / 200 <= 0.99
    assert paired_bootstrap([0, 1], [0, 1]) == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval"], "Name a benchmark"),
        (["eval", "hcstvg-v2", "--out", "x"], "--annotations"),
        (["eval", "hcstvg-v2", "--out", "x", "--hub-dataset", "x"], "write OWNER/NAME"),
        (
            ["eval", "mevis", "--out", "x", "--hub-dataset", "a/b:c", "--max-samples", "9"],
            "whole benchmarks",
        ),
        (["eval", "--compare", "/nowhere", "/nowhere"], "holds no results"),
        (["eval", "--compare", "/nowhere"], "name at least two"),
        (["eval", "--report", "/nowhere"], "holds no results"),
        (["eval", "sprites", "--n", "0", "--out", "x"], "at least 1"),
        (["eval", "sprites", "--out", "x", "--tracks", "/nowhere"], "prepared tracks"),
        (["eval", "sprites", "--out", "x", "--max-samples", "0"], "--max-samples 0"),
        (["eval", "sprites", "--out", "x", "--true-tracks", "--tracker", "coco"], "--tracker"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_help_names_the_benchmarks_that_exist():
    assert NAMES == tuple(BENCHMARKS)
    assert set(PUBLISHED) <= set(BENCHMARKS)


def test_the_page_of_published_figures_is_made_from_them():
    page = (ROOT / "docs/published.md").read_text(encoding="utf-8")
    assert page == published_page(), (
        "python -m stvg_r1_hub.evaluation.published > docs/published.md"
    )
    assert all(row.source and row.protocol for rows in PUBLISHED.values() for row in rows)
