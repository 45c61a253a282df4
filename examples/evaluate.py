"""Scores of answers against the truth: `python examples/evaluate.py`.

The truth here is what the files beside the bundled clips say; put your own list in its place. For
whole benchmarks, with a report, there is `stvg eval`.
"""

import json

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.evaluation.metrics import temporal_iou
from stvg_r1_hub.examples import FOLDER, bundled_examples


def main() -> None:
    pipeline = STVGPipeline.from_pretrained("tiny")
    scores = []
    for name, video, query in bundled_examples():
        truth = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        start, end = truth["true_start_seconds"], truth["true_end_seconds"]
        result = pipeline(query, video)
        if start is None:  # nothing in the clip fits the question
            score = float(not result.found)
        elif result.found:
            score = temporal_iou((result.start_seconds, result.end_seconds), (start, end))
        else:
            score = 0.0
        scores.append(score)
        print(f"{score:.2f}  {name}: {query}")
    print(f"{sum(scores) / len(scores):.2f}  mean of {len(scores)}")


if __name__ == "__main__":
    main()
