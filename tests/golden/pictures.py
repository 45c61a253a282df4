"""PNG files of the golden data, and the checks of resize.json."""

import numpy as np
from PIL import Image

from stvg_r1_hub.vlm.resizing import resized
from tests.golden.compare import MalformedDataError, cases_of, need


def picture(path):
    """`(H, W, 3)` uint8 RGB."""
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise MalformedDataError(f"cannot read the picture {path}: {error}") from error


def pixel_differences(expected, got, name):
    """One sentence where two pictures are not equal in every pixel."""
    if expected.shape != got.shape:
        return [f"{name}: expected {expected.shape}, got {got.shape}"]
    changed = np.argwhere((expected != got).any(axis=-1))
    if not len(changed):
        return []
    row, column = changed[0]
    return [f"{name}: {len(changed)} pixels differ, the first at x {column}, y {row}"]


def check_resizing(data, folder, where):
    """Every pixel of every frame at the size the language model sees."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        frame = picture(folder / need(case, "input", here))
        expected = picture(folder / need(case, "expected", here))
        size = need(case, "height", here), need(case, "width", here)
        yield (
            f"{frame.shape[1]}x{frame.shape[0]} to {size[1]}x{size[0]}",
            lambda frame=frame, expected=expected, size=size: pixel_differences(
                expected, resized(frame[None], *size)[0], "expected"
            ),
        )
