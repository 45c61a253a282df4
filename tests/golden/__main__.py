"""`python -m tests.golden --data FOLDER`: run every golden kind found in a folder.

Prints `kind passed/total` a line. Exit code 0 when every case passes, 1 when one fails, 2 when
the folder is not golden data.
"""

import argparse
import json
import sys
from pathlib import Path

from stvg_r1_hub.errors import AnnotationError
from tests.golden.answers_and_prompts import check_answers, check_prompts
from tests.golden.compare import MalformedDataError
from tests.golden.markers import check_markers
from tests.golden.metrics import check_masks, check_official, check_stvg, check_times
from tests.golden.new_objects import check_new_objects
from tests.golden.pictures import check_resizing
from tests.golden.training import check_grpo, check_object_ids
from tests.golden.video_and_positions import check_positions, check_sampling

DATA = Path(__file__).parent / "data"
CHECKS = {
    "answer_parsing": check_answers,
    "grpo_math": check_grpo,
    "gt_object_id": check_object_ids,
    "hcstvg_spatial_iou": check_official,
    "marker_layout": check_markers,
    "mrope_positions": check_positions,
    "new_object_matching": check_new_objects,
    "prompt_and_training_examples": check_prompts,
    "resize": check_resizing,
    "rvos_metrics": check_masks,
    "stvg_metrics": check_stvg,
    "temporal_metrics": check_times,
    "video_sampling": check_sampling,
}
"""Kind to a function that yields (case name, function that returns the differences)."""
NOT_A_KIND = {"hershey_digits"}
SHOWN_FAILURES = 5


def run_kind(kind, data, folder):
    """Names of all cases and of the failed ones, the latter with their differences."""
    total, failures = 0, {}
    try:
        cases = list(CHECKS[kind](data, folder, f"{kind}.json"))
    except (AnnotationError, AttributeError, KeyError, TypeError) as error:
        raise MalformedDataError(f"{kind}.json has another form: {error!r}") from error
    for name, check in cases:
        total += 1
        try:
            problems = check()
        except Exception as error:  # a case must not hide the others
            problems = [f"raised {type(error).__name__}: {error}"]
        if problems:
            failures[f"{total - 1}: {name}"] = problems
    if not total:
        raise MalformedDataError(f"{kind}.json holds no cases")
    return total, failures


def load(path):
    """The JSON object of a golden file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MalformedDataError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise MalformedDataError(f"{path.name} must hold a JSON object")
    return data


def run_folder(folder):
    """Run and print every kind of a folder; whether all cases passed."""
    if not folder.is_dir():
        raise MalformedDataError(f"{folder} is not a folder; give one with golden JSON files")
    paths = [path for path in sorted(folder.glob("*.json")) if path.stem not in NOT_A_KIND]
    if not any(path.stem in CHECKS for path in paths):
        raise MalformedDataError(
            f"{folder} holds none of {', '.join(map('{}.json'.format, CHECKS))}"
        )
    passed_all = True
    for path in paths:
        if path.stem not in CHECKS:
            print(f"{path.stem} not built")
            continue
        total, failures = run_kind(path.stem, load(path), folder)
        print(f"{path.stem} {total - len(failures)}/{total}", flush=True)
        for name, problems in list(failures.items())[:SHOWN_FAILURES]:
            print(f"  {name}: {'; '.join(problems[:3])}", file=sys.stderr)
        passed_all = passed_all and not failures
    return passed_all


def main(arguments=None):
    """Exit code for the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with golden JSON files")
    folder = parser.parse_args(arguments).data
    try:
        return 0 if run_folder(folder) else 1
    except MalformedDataError as error:
        print(f"The golden data cannot be used: {error}.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
