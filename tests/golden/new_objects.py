"""Checks of new_object_matching.json."""

from stvg_r1_hub.geometry import decode_mask, encode_mask
from stvg_r1_hub.tracking.class_groups import wanted_class
from stvg_r1_hub.tracking.paper import match_new_objects
from tests.golden.compare import cases_of, differences, need


def check_new_objects(data, folder, where):
    """Which detections become objects, which objects are given up, and the class filter."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        ids = need(case, "existing_ids_in_order", here)
        masks = need(case, "existing_masks", here)
        existing = {j: decode_mask(need(masks, str(j), here)) for j in ids}
        detected = [decode_mask(mask) for mask in need(case, "new_masks", here)]
        expected = need(case, "expected", here)
        yield (
            str(case.get("name", i)),
            lambda expected=expected, existing=existing, detected=detected: differences(
                expected, _matched(existing, detected)
            ),
        )
    for i, case in enumerate(cases_of(data, "class_filter_cases", where)):
        here = f"{where} class filter {i}"
        name, mode = need(case, "class_name", here), need(case, "target_mode", here)
        expected = need(case, "expected", here)
        yield (
            f"{name} {mode}",
            lambda expected=expected, name=name, mode=mode: differences(
                expected, wanted_class(name, mode)
            ),
        )


def _matched(existing, detected):
    kept, given_up = match_new_objects(existing, detected)
    remaining = [i for i in existing if i not in given_up]
    return {
        "kept_new_indices": kept,
        "remaining_existing_ids": remaining,
        "existing_masks_after": {str(i): encode_mask(existing[i]) for i in remaining},
    }
