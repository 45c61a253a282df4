"""Checks of marker_layout.json and its PNG files."""

import numpy as np

from stvg_r1_hub.config import MarkerStyle
from stvg_r1_hub.geometry import mask_area
from stvg_r1_hub.marking import draw_markers, kept_by_size, marker_center, marker_font
from tests.golden.compare import cases_of, differences, need
from tests.golden.pictures import picture, pixel_differences

STYLE = MarkerStyle()
HERSHEY_SIMPLEX = 0
ANTI_ALIASED = 16


def check_markers(data, folder, where):
    """Centres, font, size filter and drawn pixels."""
    centers = cases_of(data, "center_cases", where)
    # `cases` repeats the centre cases: it is not counted again, but must be right too.
    repeated = cases_of(data, "cases", where) if "cases" in data else centers
    for i in range(max(len(centers), len(repeated))):
        both = [cases[i] for cases in (centers, repeated) if i < len(cases)]
        read = [
            (need(c, "rle", f"{where} {i}"), need(c, "expected_center_xy", f"{where} {i}"))
            for c in both
        ]
        yield (
            f"center {i}",
            lambda read=read: [text for rle, xy in read for text in _center(rle, xy)],
        )
    for i, case in enumerate(cases_of(data, "font_cases", where)):
        width, height = (need(case, side, f"{where} font {i}") for side in ("width", "height"))
        yield f"font {i}", lambda case=case, w=width, h=height: _font(case, w, h)
    for i, case in enumerate(cases_of(data, "filter_cases", where)):
        fields = ("frames", "areas", "expected_kept_ids", "error")
        read = [need(case, field, f"{where} filter {i}") for field in fields]
        yield f"filter {i}", lambda read=read: _filter(*read)
    for i, case in enumerate(cases_of(data, "render_cases", where)):
        here = f"{where} render {i}"
        images = {
            field: picture(folder / need(case, field, here))
            for field in ("input_png", "expected_png_opencv4", "expected_png_opencv5")
        }
        objects, calls = need(case, "objects", here), need(case, "draw_calls", here)
        size = [need(case, "height", here), need(case, "width", here)]
        yield (
            f"render {i}",
            lambda images=images, objects=objects, calls=calls, size=size: _render(
                images, objects, calls, size
            ),
        )


def _center(rle, expected):
    center = marker_center(rle)
    return differences(expected, None if center is None else list(center), "expected_center_xy")


def _call(width, height):
    font_scale, thickness = marker_font(width, height, STYLE)
    return {
        "font_face": HERSHEY_SIMPLEX,
        "font_scale": font_scale,
        "color_bgr": list(STYLE.color_rgb[::-1]),
        "thickness": thickness,
        "line_type": ANTI_ALIASED,
    }


def _font(case, width, height):
    return differences(case, {"width": width, "height": height, **_call(width, height)})


def _filter(frames, expected_areas, expected_kept, expected_error):
    areas, kept, error = [], [], None
    try:
        for frame in frames:
            found = {
                name: None if item is None else mask_area(item["rle"])
                for name, item in frame["objects"].items()
            }
            areas.append(found)
            sizes = {int(name): area or 0 for name, area in found.items()}
            kept.append([str(i) for i in kept_by_size(sizes, STYLE.min_area_ratio)])
    except ValueError as problem:
        error = type(problem).__name__
    return (
        differences(expected_areas, areas, "areas")
        + differences(expected_kept, kept, "expected_kept_ids")
        + differences(expected_error, error, "error")
    )


def _render(images, objects, calls, size):
    frame, expected = images["input_png"], images["expected_png_opencv4"]
    centers = {int(name): marker_center(rle) for name, rle in objects.items()}
    ours = [
        {"text": str(i), "org": list(center), **_call(size[1], size[0])}
        for i, center in centers.items()
        if center is not None
    ]
    drawn = draw_markers(frame, {i: c for i, c in centers.items() if c is not None}, STYLE)
    problems = differences(calls, ours, "draw_calls")
    problems += differences(size, list(frame.shape[:2]), "size")
    # What OpenCV 5 draws is no target, only told apart: it must be another picture of that size.
    other = images["expected_png_opencv5"]
    if other.shape != frame.shape or np.array_equal(other, expected):
        problems.append("expected_png_opencv5: not another picture of the same size")
    return problems + pixel_differences(expected, drawn, "expected_png_opencv4")
