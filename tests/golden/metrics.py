"""Checks of stvg_metrics, hcstvg_spatial_iou, rvos_metrics and temporal_metrics."""

import functools
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from stvg_r1_hub.answer import parse_answer, parse_time_answer
from stvg_r1_hub.evaluation.community import (
    HCSTVG_CLIP_SECONDS,
    frame_scores,
    tubedetr_frames,
)
from stvg_r1_hub.evaluation.mask_metrics import (
    boundary_accuracy,
    empty_mask,
    frame_statistics,
    region_similarity,
    score_masks,
)
from stvg_r1_hub.evaluation.official import hull_tiou, spatial_iou
from stvg_r1_hub.evaluation.prediction import Prediction
from stvg_r1_hub.evaluation.protocols import PROTOCOLS, summarize
from stvg_r1_hub.evaluation.samples import AnnotatedSample
from stvg_r1_hub.geometry import decode_mask, encode_mask, paired_iou, union_of_masks
from tests.golden.compare import cases_of, differences, need

CRASH_WITHOUT_TIME = (
    "NameError: cannot access free variable 'recalls' where it is not associated with a value in "
    "enclosing scope"
)
OTHER_TOLERANCES = "F_per_frame_by_bound_th"
"""Of boundaries: nothing here makes use of them, so that they are not checked."""
VIDEO_SUFFIXES = (".mkv", ".mp4", ".avi", ".mov", ".wmv", ".flv", ".webm", "")


# --- stvg_metrics ---------------------------------------------------------------------------


def check_stvg(data, folder, where):
    """Every sample's scores and every summary of the three evaluators."""
    cases = cases_of(data, "cases", where)
    by_name = {need(case, "name", where): case for case in cases}
    for case in cases:
        name = case["name"]
        inputs = by_name.get(case.get("inputs_from"), case)
        for field in ("annotations", "video_predictions", "predictions"):
            need(inputs, field, f"{where} {name}")
        expected = {field: need(case, field, f"{where} {name}") for field in ("expected", "error")}
        yield (
            name,
            lambda case=case, inputs=inputs, expected=expected: differences(
                expected, _evaluated(case, inputs, expected)
            ),
        )


def _evaluated(case, inputs, expected):
    """What the case's evaluator prints, or how it fails."""
    samples = (_tubedetr if case["evaluator"] == "TubeDETR" else _plain)(inputs)
    if inputs.get("tmp_loc") is False and case["dataset"] == "hcstvg":
        return {"expected": None, "error": CRASH_WITHOUT_TIME}
    # TubeDETR only counts: boxes of frames that it does not look at make up for missing ones.
    lacking = sum(len(s.looked_at) for s in samples.values()) - len(inputs["predictions"])
    if case["evaluator"] == "TubeDETR" and lacking > 0:
        return {"expected": None, "error": f"RuntimeError: {lacking} box predictions missing"}
    need_all = (case["evaluator"], case["dataset"]) in (
        ("STCAT", "hcstvg"), ("STCAT", "vidstg"), ("CGSTVG", "vidstg"),
    )  # fmt: skip
    try:
        return {"expected": _scored(case, inputs, samples, need_all), "error": None}
    except LookupError as error:
        return {"expected": None, "error": f"RuntimeError: {error}"}


def _scored(case, inputs, samples, need_all):
    thresholds, by_type = case["iou_thresholds"], case["dataset"] == "vidstg"
    with_time = inputs.get("tmp_loc") is not False
    per_video, groups, frames = {}, {}, {}
    for key, sample in samples.items():
        answer = inputs["video_predictions"][key]
        for frame in sample.looked_at if need_all else ():
            if frame not in sample.boxes:  # Ours counts it as IoU 0.
                raise LookupError(f"No prediction for frame {frame}")
        scores = frame_scores(
            tuple(answer["sted"]), sample.range, sample.boxes, sample.true, sample.frames
        )
        values = {"gt_viou": scores.gt_viou}
        values |= {f"gt_viou@{m}": int(scores.gt_viou > m) for m in thresholds}
        if with_time:
            values |= {"gt_sted": list(sample.range), "pred_sted": answer["sted"]}
            values |= {"tiou": scores.tiou, "viou": scores.viou}
            values |= {f"viou@{m}": int(scores.viou > m) for m in thresholds}
        if by_type:
            values["qtype"] = answer["qtype"]
        if sample.frames is not None:
            frames[key] = [sample.frames, [f"{key}_{f}" for f in sample.looked_at]]
            values["frame_iou"] = {
                f"{key}_{f}": float(paired_iou(sample.boxes[f], sample.true[f])[0])
                for f in sample.looked_at
            }
        per_video[key] = values
        groups.setdefault(answer["qtype"] if by_type else "", []).append(scores)
    summary = {
        f"{kind}_{name}" if kind else name: value
        for kind, scores in groups.items()
        for name, value in _summary(scores, thresholds).items()
        if with_time or name.startswith("gt_")
    }
    return {"summary": summary, "per_video": per_video} | ({"frames": frames} if frames else {})


def _summary(scores, thresholds):
    """The averages of our protocol by the names these evaluators print."""
    protocol = replace(PROTOCOLS["stcat"], thresholds={"viou": thresholds, "gt_viou": thresholds})
    averages = summarize(protocol, [asdict(values) for values in scores])
    return {name.removeprefix("m_").lower(): value for name, value in averages.items()}


@dataclass
class _Sample:
    range: tuple
    boxes: dict
    true: dict
    frames: list | None
    """Frames the evaluator looks at; None for all."""

    @property
    def looked_at(self):
        """Those with a true box."""
        return [f for f in (self.true if self.frames is None else self.frames) if f in self.true]


def _plain(inputs):
    """Samples in the form of STCAT and CG-STVG."""
    return {
        str(record["item_id"]): _Sample(
            range=tuple(record["gt_temp_bound"]),
            boxes={
                int(frame): boxes[0]
                for frame, boxes in inputs["predictions"].get(str(record["item_id"]), {}).items()
            },
            true={int(frame): box for frame, box in record["bboxs"].items()},
            frames=None,
        )
        for record in inputs["annotations"]
    }


def _tubedetr(inputs):
    """Samples in the form of TubeDETR."""
    boxes = {}
    for name, values in inputs["predictions"].items():
        video, frame = name.rsplit("_", 1)
        boxes.setdefault(video, {})[int(frame)] = values["boxes"][0]
    of_hcstvg = inputs["dataset"] == "hcstvg"
    samples = {}
    for record in inputs["annotations"] if of_hcstvg else inputs["annotations"]["videos"]:
        first, stop = record["tube_start_frame"], record["tube_end_frame"]
        if of_hcstvg:
            fps = record["frame_count"] / HCSTVG_CLIP_SECONDS
            shown = 0, record["frame_count"] - 1
            listed = enumerate(record["trajectory"], start=first)
        else:
            fps, shown = record["fps"], (record["start_frame"], record["end_frame"])
            own = inputs["annotations"]["trajectories"][record["original_video_id"]]
            entries = own[str(record["target_id"])]
            listed = ((int(f), entry["bbox"]) for f, entry in entries.items())
        if not inputs["tmp_loc"]:
            shown = first, first + 1
        key = str(record["video_id"])
        samples[key] = _Sample(
            range=(first, stop),
            boxes=boxes.get(key, {}),
            true={f: [x, y, x + w, y + h] for f, (x, y, w, h) in listed if first <= f < stop},
            frames=tubedetr_frames(*shown, fps, inputs["fps"], inputs["video_max_len"]),
        )
    return samples


# --- hcstvg_spatial_iou ---------------------------------------------------------------------


def check_official(data, folder, where):
    """Every sample of the official script, and its averages over several of them."""
    cases = cases_of(data, "cases", where)
    by_name = {need(case, "name", where): case for case in cases}
    for name, case in by_name.items():
        expected = need(case, "expected", f"{where} {name}")
        yield name, lambda case=case, expected=expected: differences(expected, _official(case))
    for i, aggregate in enumerate(cases_of(data, "aggregates", where)):
        names = need(aggregate, "case_names", f"{where} aggregate {i}")
        chosen = [by_name[name] for name in names]
        yield (
            f"aggregate {need(aggregate, 'name', where)}",
            lambda aggregate=aggregate, chosen=chosen: differences(
                aggregate,
                {
                    "name": aggregate["name"],
                    "case_names": [case["name"] for case in chosen],
                    **_official_loop(chosen),
                },
            ),
        )


def _official(case):
    answer = parse_answer(case["model_output"], strict=True)
    truth = tuple(case["annotation"]["timestamps"][0])
    values = {
        "spatial_iou_for_item": None,
        "spatial_error": None,
        "counted_in_averages": True,
        "tIoU": 0.0,
        "vIoU": 0.0,
        "id_correct": None,
        "logged_error": None,
    }
    if not answer.object_ids:
        # As the first sample: the script trips over its own log line, after counting the zeros.
        error = "cannot access local variable 'gt_id' where it is not associated with a value"
        return {**values, "logged_error": error}
    predicted = answer.start_seconds, answer.end_seconds
    iou = _official_iou(case, predicted, truth, answer.object_ids[0])
    values["spatial_iou_for_item"] = iou
    try:
        values["tIoU"] = hull_tiou(predicted, truth)
    except ZeroDivisionError as error:
        return {
            **values,
            "counted_in_averages": False,
            "tIoU": None,
            "vIoU": None,
            "logged_error": str(error),
        }
    values["vIoU"] = iou or 0.0
    values["id_correct"] = int(answer.object_ids[0] == case["annotation"]["objectid"][0])
    return values


def _official_iou(case, predicted, truth, object_id):
    keys = [case["video_id"] + suffix for suffix in VIDEO_SUFFIXES]
    record = case["bbox_annotation"] if case["bbox_key"] in keys else None
    if not case["has_mask_folder"] or not record or not record["bbox"]:
        return None
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (b or (0, 0, 0, 0) for b in record["bbox"])]
    return spatial_iou(
        predicted,
        truth,
        object_id,
        fps=case["annotation"].get("fps", 25.0),
        first_frame=int(record["st_frame"]),
        true_boxes=[
            box if given else None for box, given in zip(boxes, record["bbox"], strict=True)
        ],
        objects={
            int(frame): {int(i): _pixel_box(rle) for i, rle in (objects or {}).items()}
            for frame, objects in case["frames"].items()
        },
    )


def _pixel_box(rle):
    return None if rle is None else _box_of_runs(*rle["size"], rle["counts"])


@functools.cache
def _box_of_runs(height, width, counts):
    ys, xs = np.nonzero(decode_mask({"size": [height, width], "counts": counts}))
    return (int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())) if len(xs) else None


def _official_loop(cases):
    found = [_official(case) for case in cases]
    counted = [values for values in found if values["counted_in_averages"]]
    scores = [{"tiou": values["tIoU"], "viou": values["vIoU"]} for values in counted]
    return {
        "tIoU": [score["tiou"] for score in scores],
        "vIoU": [score["viou"] for score in scores],
        "aggregate": {
            "n_items": len(cases),
            "n_counted": len(scores),
            "n_spatial": len(scores),
            **summarize(PROTOCOLS["stvg-r1"], scores),
        },
        "n_logged_errors": sum(
            values["logged_error"] is not None and (i == 0 or values["tIoU"] is None)
            for i, values in enumerate(found)
        ),
    }


# --- rvos_metrics ---------------------------------------------------------------------------


def check_masks(data, folder, where):
    """J and F per frame and their statistics; several objects; the MeViS loop."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        fields = ("name", "gt", "pred", "expected")
        name, *read = (need(case, field, f"{where} case {i}") for field in fields)
        read += [case.get("void"), case.get("expected_with_void")]
        yield name, lambda read=read: _one_object(*read)
    for i, case in enumerate(cases_of(data, "multi_object_cases", where)):
        name, gt, pred = (need(case, f, f"{where} {i}") for f in ("name", "gt", "pred"))
        for way in ("expected_semi_supervised", "expected_unsupervised"):
            if way in case:
                yield (
                    f"{name} {way}",
                    lambda gt=gt, pred=pred, way=way, expected=case[way]: _objects(
                        gt, pred, expected, assign=way == "expected_unsupervised"
                    ),
                )
    mevis = need(data, "mevis_case", where)
    yield "mevis", lambda: _mevis(mevis)


def _one_object(truth, predicted, expected, void, expected_void):
    region = [region_similarity(*pair) for pair in zip(truth, predicted, strict=True)]
    boundary = [boundary_accuracy(*pair) for pair in zip(truth, predicted, strict=True)]
    scores = score_masks(truth, predicted)
    ours = {
        "J_per_frame": region,
        "F_per_frame": boundary,
        "J": scores.region,
        "F": scores.boundary,
        "J&F": scores.mean,
        "J_stats_mean_recall_decay": frame_statistics(region),
        "F_stats_mean_recall_decay": frame_statistics(boundary),
    }
    problems = differences(
        {name: values for name, values in expected.items() if name != OTHER_TOLERANCES}, ours
    )
    if void is not None:
        with_void = [
            (_without(true, out), _without(answer, out))
            for true, answer, out in zip(truth, predicted, void, strict=True)
        ]
        problems += differences(
            expected_void,
            {
                "J_per_frame": [region_similarity(*pair) for pair in with_void],
                "F_per_frame": [boundary_accuracy(*pair) for pair in with_void],
            },
            "void",
        )
    return problems


def _without(mask, void):
    return encode_mask(decode_mask(mask) & ~decode_mask(void))


def _objects(truth, predicted, expected, *, assign):
    scores = _scores_of_objects(truth, predicted, assign=assign)
    ours = {
        "J_per_object": [score.region for score in scores],
        "F_per_object": [score.boundary for score in scores],
        "J&F": float(np.mean([score.mean for score in scores])),
    }
    if "J_per_frame" in expected:
        size = truth[0][0]["size"]
        padded = [*predicted, *[[None] * len(truth[0])] * (len(truth) - len(predicted))]
        pairs = [
            [(a, b or empty_mask(*size)) for a, b in zip(*both, strict=True)]
            for both in zip(truth, padded, strict=True)
        ]
        ours["J_per_frame"] = [[region_similarity(*pair) for pair in row] for row in pairs]
        ours["F_per_frame"] = [[boundary_accuracy(*pair) for pair in row] for row in pairs]
    return differences(expected, ours)


def _scores_of_objects(truth, predicted, *, assign):
    """As DAVIS 2017 scores several objects: in order, or matched for the highest J&F."""
    padded = [*predicted, *[[None] * len(truth[0])] * (len(truth) - len(predicted))]
    if not assign:
        return [score_masks(*pair) for pair in zip(truth, padded, strict=True)]
    table = [[score_masks(true, ours) for true in truth] for ours in padded]
    rows, columns = linear_sum_assignment([[-score.mean for score in row] for row in table])
    return [table[row][column] for row, column in zip(rows, columns, strict=True)]


def _mevis(case):
    per_expression = {}
    for video, record in case["meta_expressions"]["videos"].items():
        for name, expression in record["expressions"].items():
            key = f"{video}_{name}"
            ids = [str(i) for i in expression["anno_id"]]
            truth = tuple(
                union_of_masks(shown) if shown else None
                for t in range(len(record["frames"]))
                for shown in [[case["mask_dict"][i][t] for i in ids if case["mask_dict"][i][t]]]
            )
            sample = AnnotatedSample(key, Path(), expression["exp"], 0.0, 1.0, masks=truth)
            masks = case["predictions"].get(key)
            times = {} if masks is None else {"start_seconds": 0.0, "end_seconds": 1.0}
            scores = PROTOCOLS["mevis"].score(
                sample, Prediction(**times, masks=dict(enumerate(masks or ())))
            )
            per_expression[key] = [scores["j"], scores["f"]]
    region, boundary = np.mean(list(per_expression.values()), axis=0).tolist()
    overall = {"J": region, "F": boundary, "J&F": (region + boundary) / 2}
    return differences(case["expected_per_expression"], per_expression) + differences(
        case["expected"], overall
    )


# --- temporal_metrics -----------------------------------------------------------------------


def check_times(data, folder, where):
    """Parsing, tIoU and recalls of time-only answers, by both repositories' rules."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        fields = ("name", "items", "expected")
        name, items, expected = (need(case, field, f"{where} case {i}") for field in fields)
        yield name, lambda items=items, expected=expected: _times(items, expected)
    for i, case in enumerate(cases_of(data, "parse_cases", where)):
        output, expected = (need(case, f, f"{where} parse {i}") for f in ("output", "expected"))
        yield (
            f"parse {output[:30]!r}",
            lambda output=output, expected=expected: differences(
                expected, list(_time_range(output) or (None, None))
            ),
        )
    for i, case in enumerate(cases_of(data, "tvgbench_cases", where)):
        fields = ("name", "items", "expected_percent")
        name, items, expected = (need(case, field, f"{where} tvg {i}") for field in fields)
        yield name, lambda items=items, expected=expected: _times(items, expected, strict=True)


def _time_range(text):
    answer = parse_time_answer(text, strict=True)
    return None if answer.start_seconds is None else (answer.start_seconds, answer.end_seconds)


def _times(items, expected, *, strict=False):
    protocol = PROTOCOLS["tvgbench" if strict else "time-r1"]
    scores = [protocol.score(_time_sample(item), _time_answer(item)) for item in items]
    problems = differences(
        [(item["expected_parse"], float(item["expected_iou"])) for item in items],
        [
            (list(_time_range(item["model_output"]) or (None, None)), score["tiou"])
            for item, score in zip(items, scores, strict=True)
        ],
    )
    averages = summarize(protocol, scores)
    figures = {"mIoU": averages["m_tIoU"]}
    figures |= {f"R@{m}": averages[f"tIoU@{m}"] for m in (0.3, 0.5, 0.7)}
    if strict:
        figures = {name: 100 * value for name, value in figures.items()}
        figures["avg"] = sum(figures.values()) / len(figures)
    else:
        figures |= {"n": len(items), "n_errors": 0}
    return problems + differences(expected, figures)


def _time_sample(item):
    return AnnotatedSample("golden", Path(), "query", *map(float, item["gt"]))


def _time_answer(item):
    return Prediction(text=item["model_output"], frame_times=np.arange(2.0))
