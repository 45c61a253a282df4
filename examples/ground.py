"""One question about one video: `python examples/ground.py`, or with a video and a question.

Offline, on a CPU. Writes `overlay.mp4`, the video with the answer drawn on it.
"""

import sys

from stvg_r1_hub import STVGPipeline, example_video


def main(video: str = str(example_video("street")), query: str = "the person walking to the left"):
    pipeline = STVGPipeline.from_pretrained("tiny")
    result = pipeline(query, video)
    if not result.found:
        print("Not found:", *result.warnings)
        return
    print(f"{query}: {result.start_seconds:.2f} to {result.end_seconds:.2f} s")
    first = result.boxes[0]
    print(f"first box, at {first.time_seconds:.2f} s:", [round(v) for v in first.xyxy])
    result.save_video("overlay.mp4")


if __name__ == "__main__":
    main(*sys.argv[1:])
