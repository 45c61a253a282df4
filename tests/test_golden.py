"""The golden runner: every case passes, and any changed expected value makes it fail."""

import copy
import functools
import json
import operator
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.golden.__main__ import CHECKS, DATA, load, main, run_kind
from tests.golden.metrics import OTHER_TOLERANCES
from tests.golden.video_and_positions import installed_is_5_23

# Which part of a file holds expected values: a case list and the field in it (None: all of it).
EXPECTED = {
    "answer_parsing": [
        ("cases", "expected_parse"),
        ("cases", "format_reward"),
        ("cases", "iou_timestamp_reward"),
    ],
    "grpo_math": [("cases", "expected")],
    "hcstvg_spatial_iou": [
        ("cases", "expected"),
        ("aggregates", "tIoU"),
        ("aggregates", "vIoU"),
        ("aggregates", "aggregate"),
        ("aggregates", "n_logged_errors"),
    ],
    "rvos_metrics": [
        ("cases", "expected"),
        ("cases", "expected_with_void"),
        ("multi_object_cases", "expected_semi_supervised"),
        ("multi_object_cases", "expected_unsupervised"),
    ],
    "stvg_metrics": [("cases", "expected"), ("cases", "error")],
    "temporal_metrics": [
        ("cases", "expected"),
        ("parse_cases", "expected"),
        ("tvgbench_cases", "expected_percent"),
    ],
    "gt_object_id": [
        ("cases", "expected_id"),
        ("cases", "expected_per_frame_id"),
    ],
    "marker_layout": [
        ("center_cases", "expected_center_xy"),
        ("cases", "expected_center_xy"),
        ("font_cases", "font_scale"),
        ("font_cases", "thickness"),
        ("font_cases", "font_face"),
        ("font_cases", "color_bgr"),
        ("font_cases", "line_type"),
        ("filter_cases", "areas"),
        ("filter_cases", "expected_kept_ids"),
        ("filter_cases", "error"),
        ("render_cases", "draw_calls"),
    ],
    "mrope_positions": [
        ("cases", "expected_transformers_4_50"),
        ("cases", "expected_transformers_4_50_without_second_per_grid_ts"),
        ("cases", "expected_transformers_5_23"),
    ],
    "new_object_matching": [
        ("cases", "expected"),
        ("class_filter_cases", "expected"),
    ],
    "prompt_and_training_examples": [
        ("cases", "prompt"),
        ("expected_train_examples", "problem"),
    ],
    "resize": [("cases", "height"), ("cases", "width")],
    "video_sampling": [("cases", "expected")],
}
MANY_CASES = {"hcstvg_spatial_iou", "rvos_metrics", "stvg_metrics"}
MUTATIONS_PER_FIELD = 3
MOST_MUTATIONS = 40


@functools.cache
def original(kind):
    return load(DATA / f"{kind}.json")


def leaves(value, path=()):
    """Paths of all scalars and empty containers below a value."""
    if isinstance(value, dict) and value:
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


def changed(value):
    """Another value of the same type, as small a change as a reader could overlook."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * (1 + 1e-6) if value else 1e-6
    if isinstance(value, str):
        return value[:-1] + ("x" if value[-1:] != "x" else "y")
    return 1 if value is None else [1]


def mutations(kind):
    """A few leaves of every expected field: the first, a middle and the last."""
    found = []
    for listed, field in EXPECTED[kind]:
        if field == "expected_transformers_5_23" and not installed_is_5_23():
            continue  # that release alone can tell
        groups = {}
        for i, case in enumerate(original(kind)[listed]):
            if field is not None and field not in case:
                continue
            top = (listed, i) if field is None else (listed, i, field)
            for leaf in leaves(case if field is None else case[field], top):
                shape = tuple(part for part in leaf if isinstance(part, str))
                if OTHER_TOLERANCES in shape:
                    continue
                groups.setdefault(shape, []).append(leaf)
        of_field = []
        for paths in groups.values():
            picks = {0, len(paths) // 2, len(paths) - 1}
            of_field += [paths[i] for i in sorted(picks)[:MUTATIONS_PER_FIELD]]
        # Some files name frames and videos in their keys, so that every value is its own shape.
        found += of_field[:: 1 + len(of_field) // MOST_MUTATIONS]
    return found


@contextmanager
def mutated(kind, path):
    """The file with one value changed, cut to that case where cases do not hang together."""
    data = original(kind)
    holder = functools.reduce(operator.getitem, path[:-1], data)
    before = holder[path[-1]]
    holder[path[-1]] = changed(before)
    try:
        if kind == "prompt_and_training_examples":
            yield data
            return
        case = data[path[0]][path[1]]
        lists = {key: [] for key, value in data.items() if isinstance(value, list)}
        needed = [c for c in data[path[0]] if c.get("name") == case.get("inputs_from", "")]
        if path[0] == "aggregates":
            lists["cases"] = data["cases"]
        yield {**data, **lists, path[0]: [*needed, case]}
    finally:
        holder[path[-1]] = before


@pytest.mark.parametrize("kind", CHECKS)
def test_every_case_passes(kind):
    total, failures = run_kind(kind, original(kind), DATA)
    assert total > 0
    assert failures == {}


def test_counts_every_entry_once():
    layout = original("marker_layout")
    lists = ("center_cases", "font_cases", "filter_cases", "render_cases")
    assert run_kind("marker_layout", layout, DATA)[0] == sum(len(layout[name]) for name in lists)
    prompts = original("prompt_and_training_examples")
    expected = len(prompts["cases"]) + len(prompts["expected_train_examples"])
    assert run_kind("prompt_and_training_examples", prompts, DATA)[0] == expected


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k in MANY_CASES else k for k in CHECKS]
)
def test_any_changed_expected_value_fails(kind):
    paths = mutations(kind)
    assert len(paths) >= 5
    unnoticed = []
    for path in paths:
        with mutated(kind, path) as data:
            if not run_kind(kind, data, DATA)[1]:
                unnoticed.append(path)
    assert unnoticed == []
    assert original(kind) == load(DATA / f"{kind}.json")


@pytest.mark.parametrize("field", ["prompt_template", "prompt_template_sha256"])
def test_changed_prompt_template_fails(field):
    kind = "prompt_and_training_examples"
    with mutated(kind, (field,)) as data:
        assert run_kind(kind, data, DATA)[1]


@pytest.mark.parametrize("field", ["expected", "expected_per_expression"])
def test_changed_mevis_score_fails(field):
    data = copy.deepcopy(original("rvos_metrics"))
    scores = data["mevis_case"][field]
    if field == "expected":
        scores["F"] *= 1 + 1e-6
    else:
        scores["vid000_0"][1] *= 1 + 1e-6
    assert list(run_kind("rvos_metrics", data, DATA)[1]) == ["25: mevis"]


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("marker_layout", "marker_frames/frame_3_expected_opencv4.png"),
        ("resize", "resize_frames/resize_2_expected.png"),
    ],
)
def test_changed_picture_fails(kind, changed, tmp_path):
    from PIL import Image

    path = tmp_path / changed
    shutil.copytree((DATA / changed).parent, path.parent)
    picture = Image.open(path).convert("RGB")
    r, g, b = picture.getpixel((0, 0))
    picture.putpixel((0, 0), (r, g, b ^ 1))
    picture.save(path)
    failures = run_kind(kind, original(kind), tmp_path)[1]
    assert len(failures) == 1


def test_case_names_do_not_matter():
    # Cases of these two refer to one another by name.
    for kind in CHECKS.keys() - {"hcstvg_spatial_iou", "stvg_metrics"}:
        data = copy.deepcopy(original(kind))
        for cases in data.values():
            for i, case in enumerate(cases if isinstance(cases, list) else []):
                if isinstance(case, dict):
                    case.update({key: f"other_{i}" for key in ("name", "kind") if key in case})
        assert run_kind(kind, data, DATA)[1] == {}


def test_command_line(tmp_path, capsys):
    assert main(["--data", str(DATA)]) == 0
    printed = capsys.readouterr().out
    assert "marker_layout 109/109" in printed
    assert "grpo_math 8/8" in printed
    assert "hershey" not in printed

    path = tmp_path / "mrope_positions.json"
    data = copy.deepcopy(original("mrope_positions"))
    data["cases"][4]["expected_transformers_4_50"]["last_position"][2] -= 1
    path.write_text(json.dumps(data))
    assert main(["--data", str(tmp_path)]) == 1
    assert "mrope_positions 9/10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, None),
        ("other.json", "{}"),
        ("answer_parsing.json", "not json"),
        ("answer_parsing.json", "[]"),
        ("answer_parsing.json", "{}"),
        ("answer_parsing.json", '{"cases": []}'),
        ("answer_parsing.json", '{"cases": [{"name": "x"}]}'),
        ("answer_parsing.json", '{"cases": 3}'),
        ("marker_layout.json", '{"center_cases": [{"rle": 1, "expected_center_xy": [1, 2]}]}'),
        ("prompt_and_training_examples.json", '{"prompt_template": 1}'),
    ],
)
def test_malformed_folder_is_one_sentence_and_exit_2(tmp_path, capsys, name, text):
    if name is not None:
        (tmp_path / name).write_text(text)
    folder = tmp_path if name is not None else tmp_path / "missing"
    assert main(["--data", str(folder)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


@pytest.mark.slow
def test_runs_as_a_module():
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "tests.golden", "--data", "/nowhere/at/all"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
