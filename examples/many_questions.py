"""Many questions about one video: `python examples/many_questions.py`.

The video is decoded and tracked once. Also prints the notes, one line an object: what the bundled
model reads to answer.
"""

from stvg_r1_hub import STVGPipeline, example_video

QUESTIONS = [
    "the person walking to the left",
    "who leaves first",
    "the white truck",
    "a dog",  # there is none, and the answer says so
]


def main() -> None:
    pipeline = STVGPipeline.from_pretrained("tiny")
    with pipeline.open(example_video("street")) as clip:
        results = clip.ground(QUESTIONS)
        later = clip.ground("the person walking to the right")  # no second tracking
    for result in [*results, later]:
        if result.found:
            when = f"{result.start_seconds:.2f} to {result.end_seconds:.2f} s"
            print(f"{result.query}: number {result.object_ids[0]}, {when}")
        else:
            print(f"{result.query}: nothing. {result.warnings[-1]}")
    print(*later.notes, sep="\n")


if __name__ == "__main__":
    main()
