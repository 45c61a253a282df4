"""Who answers: the reader of the notes, or the model that sees; and what is said about it."""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stvg_r1_hub import STVGConfig, STVGPipeline
from stvg_r1_hub.answer import parse_answer
from stvg_r1_hub.config import SamplingConfig
from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.sprites.clips import clip_scene
from stvg_r1_hub.sprites.levels import LEVELS
from stvg_r1_hub.sprites.scene import KINDS
from stvg_r1_hub.structures import MarkedFrames, Notes, Prompt
from stvg_r1_hub.vlm.reader import BY_NOTES, BY_SIGHT, RIGHT_OBJECT, NotesReader
from stvg_r1_hub.vlm.scripted import ScriptedVLM
from tests.builders import make_frames
from tests.media import write_clip
from tests.test_pipeline import COUNT, FPS, HEIGHT, WIDTH, FixedTracker, make_track

SEEN = "<think>it jumps</think><answer>Target ID: 2, Time range: 0.50 to 1.50</answer>"


class ClassTracker(FixedTracker):
    """Says what it can tell apart."""

    def __init__(self, *names: str, known: Sequence[str]) -> None:
        tracks = [
            replace(make_track(i, 10 + 60 * i), class_name=name) for i, name in enumerate(names, 1)
        ]
        faster = np.arange(COUNT, dtype=np.float32)[:, None] * [1, 0, 1, 0]
        super().__init__(*(replace(t, boxes=(t.boxes + faster).astype("f4")) for t in tracks))
        self.class_names = tuple(known)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "clip.mp4"
    return write_clip(path, COUNT, fps=FPS, size=(WIDTH, HEIGHT))


def make_pipeline(
    *names: str, known: Sequence[str], answer: str = SEEN, seen: Sequence[str] = ("dog", "cat")
) -> tuple[STVGPipeline, ScriptedVLM]:
    sight = ScriptedVLM([answer])
    reader = NotesReader(lambda: sight, seen_classes=seen)
    config = STVGConfig(reads_notes=True)
    return STVGPipeline(config, ClassTracker(*names, known=known), reader), sight


def test_what_boxes_say_is_read_and_the_rest_is_seen(clip: Path) -> None:
    pipeline, sight = make_pipeline("dog", "cat", known=("dog", "cat"))
    read, seen, moved = pipeline(["the cat", "the cat jumping", "the dog moving right"], clip)
    assert (read.object_ids, read.start_seconds, read.end_seconds) == ((2,), 0.0, 4.0)
    assert read.reasoning.startswith(BY_NOTES)
    assert (seen.object_ids, seen.start_seconds) == ((2,), 0.5)
    assert seen.reasoning == f"{BY_SIGHT} it jumps"
    assert moved.object_ids == (1,) and moved.reasoning.startswith(BY_NOTES)
    assert len(sight.prompts) == 1 and "the cat jumping" in sight.prompts[0]
    assert read.notes[1].startswith("2 cat: ")


@pytest.mark.parametrize(
    ("listed", "number", "stands"),
    [
        ("1 dog rests. 2 cat (asked) jumps (asked) 0.50 to 1.50.", "2", True),
        ("1 dog jumps 1.00 to 2.00. 2 cat (asked) spins 0.25 to 1.00, jumps (asked) 1.50 to 2.00.",
         "2", True),
        ("1 dog rests. 2 cat (asked) spins (asked) 0.50 to 1.50.", "2", False),
        ("12 cat (asked) jumps (asked) 0.50 to 1.50. 2 cat (asked) rests.", "2", False),
        ("1 dog (asked) jumps (asked) 0.50 to 1.50.", "2", False),
        ("1 dog rests. 2 cat (asked) spins (asked) 0.50 to 1.50.", "none", False),
    ],
)  # fmt: skip
def test_what_the_small_model_answers_against_its_own_reasoning_is_taken_back(
    clip: Path, listed: str, number: str, stands: bool
) -> None:
    times = ", Time range: 0.50 to 1.50" if number != "none" else ""
    said = f"<think> cat (asked) jumps (asked). {listed}</think>"
    said += f"<answer>Target ID: {number}{times}</answer>"
    pipeline, _ = make_pipeline("dog", "cat", known=("dog", "cat"), answer=said)
    result = pipeline("the cat jumping", clip)
    assert result.found == stands and listed in result.reasoning
    against = any("by its own reasoning" in warning for warning in result.warnings)
    assert against == (number != "none" and not stands)


def test_of_a_long_video_boxes_are_read_and_windows_are_seen(clip: Path) -> None:
    pipeline, sight = make_pipeline("dog", "cat", known=("dog", "cat"))
    sampling = SamplingConfig(fps=4.0, max_frames=4, window_seconds=2.0)
    pipeline = pipeline.replace(config=replace(pipeline.config, sampling=sampling))
    read, seen = pipeline(["the cat", "the cat jumping"], clip, passes="auto")
    assert read.reasoning.startswith(BY_NOTES) and read.object_ids == (2,) and not read.looks
    assert seen.reasoning.startswith(BY_SIGHT) and seen.object_ids == (2,)
    assert {look.kind for look in seen.looks} == {"window"}
    assert len(sight.videos) == len(seen.looks) == 3


def test_elsewhere_sight_is_not_asked_and_the_word_is_named(clip: Path) -> None:
    pipeline, sight = make_pipeline("dog", "person", known=("person", "dog", "cat"))
    (result,) = pipeline(["the dog that jumps"], clip)
    assert not result.found and not sight.prompts and not sight.videos
    assert 'This word is not understood: "jumps".' in result.warnings[-1]
    assert 'Not understood: "jumps"' in result.reasoning


@pytest.mark.parametrize("word", ["juggling", "bearded", "xyzzyx"])
def test_a_word_that_nobody_knows_is_not_answered(clip: Path, word: str) -> None:
    for known in (("dog", "cat"), ("person", "dog")):
        pipeline, sight = make_pipeline("dog", known=known)
        result = pipeline(f"the {word} dog", clip)
        assert not result.found and not sight.prompts
        assert f'"{word}"' in result.warnings[-1]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("how many dogs are there", 'This word is not understood: "many".'),
        ("the dogs walking together", 'This word is not understood: "together".'),
        ("the dog on the right from the start", 'This word is not understood: "start".'),
        ("a dog walking in the dark", 'This word is not understood: "dark".'),
        ("the dog at the end of the street", 'This word is not understood: "end".'),
        ("the light in the street", 'This word is not understood: "light".'),
        ("the man and the woman", '"woman" is a second object here, and one is asked about'),
        ("the dog for two seconds", "chosen by its start and end"),
        ("two dogs", '"two" asks for several objects, and one is answered at a time; say which'),
        ("a couple of dogs walking", '"couple" asks for several objects, and one is answered'),
        ("at 3 seconds, the dog", "chosen by its start and end"),
        ("between 2 and 4 seconds, the dog moving right", "chosen by its start and end"),
        ("the dog and the car", '"car" is a second object here, and one is asked about'),
    ],
)
def test_what_an_answer_would_leave_out_is_said(clip: Path, query: str, said: str) -> None:
    pipeline, _ = make_pipeline("dog", known=("person", "dog"), seen=())
    result = pipeline(query, clip)
    assert not result.found and said in result.warnings[-1]


def test_another_language_gets_a_sentence(clip: Path) -> None:
    pipeline, _ = make_pipeline("dog", known=("dog",), seen=())
    result = pipeline("собака справа", clip)
    assert result.warnings[-1].endswith("The reader knows English only; ask in English.")


def test_others_that_fit_are_listed_with_their_times(clip: Path) -> None:
    pipeline, _ = make_pipeline("dog", "dog", "dog", known=("person", "dog"))
    result = pipeline("a dog", clip)
    assert result.found and result.object_ids == (1,)
    assert result.warnings == ("2 other objects fit too; the longest is answered.",)
    assert result.confidence == pytest.approx(RIGHT_OBJECT / 3)
    assert [(o.object_id, o.start_seconds, o.end_seconds) for o in result.alternatives] == [
        (2, 0.0, 4.0),
        (3, 0.0, 4.0),
    ]


def test_questions_about_time_alone_are_of_sight(clip: Path) -> None:
    pipeline, sight = make_pipeline("dog", known=("dog",), answer="<answer>1.0 to 2.0</answer>")
    result = pipeline("the dog", clip, markers=False)
    assert (result.start_seconds, result.end_seconds) == (1.0, 2.0)
    assert len(sight.prompts) == 1


def test_more_objects_than_the_weights_can_number_are_read(clip: Path) -> None:
    names = ["person"] * 12 + ["dog"]
    pipeline, _ = make_pipeline(*names, known=("person", "dog"))
    few = replace(pipeline.config, tracking=replace(pipeline.config.tracking, max_objects=9))
    pipeline.config = few
    assert pipeline("the dog", clip).object_ids == (13,)


@pytest.mark.parametrize(
    "level",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "crowd")) for name in sorted(LEVELS)],
)
def test_every_question_of_the_sprite_benchmark_is_of_sight(level: str) -> None:
    """What the small model was trained on stays its own, wordings and synonyms included."""
    sight = ScriptedVLM([SEEN])
    reader = NotesReader(lambda: sight, seen_classes=KINDS)
    frames = make_frames(np.zeros((2, 8, 8, 3), np.uint8), model_size=(28, 28))
    notes = Notes((), KINDS, 8, 8, 1.0)
    video = reader.encode(MarkedFrames(frames, (frozenset(), frozenset()), notes))
    queries = [clip_scene(level, 5, number).query for number in range(80)]
    prompts = [build_prompt(query, "sprites-v1") for query in queries]
    texts = reader.generate(prompts, video, max_new_tokens=99)
    read = [q for q, text in zip(queries, texts, strict=True) if BY_SIGHT not in text]
    assert not read


def test_an_answer_of_another_class_is_withdrawn(clip: Path) -> None:
    pipeline, _ = make_pipeline("cat", "dog", known=("cat", "dog"))
    result = pipeline("the cat jumping", clip)
    assert not result.found and result.boxes == ()
    assert result.warnings[-1] == (
        "The tracker takes object 2 for a dog, and the question names a cat. "
        "The answer is withdrawn."
    )


def test_a_large_models_answer_of_another_class_is_kept_with_a_warning(clip: Path) -> None:
    tracker = ClassTracker("cat", "dog", known=("cat", "dog"))
    pipeline = STVGPipeline(STVGConfig(), tracker, ScriptedVLM([SEEN]))
    kept, fine, unknown = pipeline(["the cat jumping", "the puppy", "the hat on the bed"], clip)
    assert kept.object_ids == fine.object_ids == unknown.object_ids == (2,)
    assert (
        kept.warnings[-1] == "The tracker takes object 2 for a dog, and the question names a cat."
    )
    assert not fine.warnings and not unknown.warnings


def test_what_stands_after_an_answer_is_its_remark() -> None:
    answer = parse_answer(f"{SEEN}\n This fits\ttoo. ")
    assert answer.object_ids == (2,) and answer.remark == "This fits too."
    assert parse_answer(SEEN).remark == ""
    assert parse_answer(f"{SEEN} x", strict=True).remark == ""
    assert len(parse_answer(SEEN + "y" * 9999).remark) == 500


def test_a_prompt_knows_its_query_also_in_another_process() -> None:
    prompt, time = build_prompt("the dog", "sprites-v1"), build_prompt("the dog", "time-r1")
    assert prompt == 'Find "the dog". Give its ID and time.'
    assert (prompt.needs_objects, time.needs_objects) == (True, False)
    assert prompt.parse(SEEN).object_ids == (2,) and time.parse("1 to 2").end_seconds == 2
    for one in (prompt, time):
        again = pickle.loads(pickle.dumps(one))
        assert isinstance(again, Prompt) and again == one and vars(again) == vars(one)
