import random
import time

import pytest

from stvg_r1_hub.answer import ID_TOO_LONG, parse_answer, parse_time_answer


def wrapped(answer):
    return f"<think>It moves at 2.10 to 5.00.</think><answer>{answer}</answer>"


# answer text, IDs, start, end, rule
LENIENT = [
    ("Target ID: 4, Time range: 0.16 to 7.83", (4,), 0.16, 7.83, "strict"),
    ("target id: 4, TIME RANGE: 1 AND 3.", (4,), 1, 3, "strict"),
    ("Target ID: [4], Time range: [1.50 to 4.00]", (4,), 1.5, 4, "brackets"),
    ("Target ID: 4, Time range: [1.50, 4.00]", (4,), 1.5, 4, "brackets, other separator"),
    ("[Target ID: 4, Time range: 1.5 to 4]", (4,), 1.5, 4, "strict"),
    ("Target ID: 4, Time range: 1.5s to 4.0s", (4,), 1.5, 4, "units"),
    ("Target ID: 4, Time range: 1.5 sec to 4 seconds", (4,), 1.5, 4, "units"),
    ("Target ID: 4, Time range: 1.5 - 4.0", (4,), 1.5, 4, "dash"),
    ("Target ID: 4, Time range: 1.5\u20134.0", (4,), 1.5, 4, "dash"),
    ("Target ID: 4, Time range: 1.5s \u2014 4.0s", (4,), 1.5, 4, "units, dash"),
    ("Target ID: 4, Time range: 00:14 to 01:05.5", (4,), 14, 65.5, "clock times"),
    ("Target ID: 4, Time range: 0:01:02 - 1:00:00", (4,), 62, 3600, "clock times, dash"),
    ("Target ID: 4, Time range: 5 to 0:30", (4,), 5, 30, "clock times"),
    ("Target ID: 4, Time range: 0,18 to 6,86", (4,), 0.18, 6.86, "decimal comma"),
    ("Target ID: 4, Time range: 2 to 3,5", (4,), 2, 3.5, "decimal comma"),
    ("Target ID: 4, Time: 1.5 to 3.75.", (4,), 1.5, 3.75, "time label"),
    ("ID 4 from 1 to 3,75.", (4,), 1, 3.75, "ID label, no time label, decimal comma"),
    ("Target ID: 4, Time range: .7 to 11.5", (4,), 0.7, 11.5, "other spelling"),
    ("Target ID: 4, Time range: from 1 to 3", (4,), 1, 3, "other spelling"),
    ("Target ID: 4, Time range: between 1 and 3", (4,), 1, 3, "other spelling"),
    ("Target ID: 4, Time range: 1 until 3", (4,), 1, 3, "other separator"),
    ("Target ID: 1, 3, Time range: 2 to 4", (1, 3), 2, 4, "several IDs"),
    ("Target ID: 1 and 3, Time range: 2 to 4", (1, 3), 2, 4, "several IDs"),
    ("Target ID: [1, 3], Time range: [2 to 4]", (1, 3), 2, 4, "brackets, several IDs"),
    ("Target IDs: 1, 3 and 12, Time range: 2 to 4", (1, 3, 12), 2, 4, "ID label, several IDs"),
    ("Target ID: 3, 3, Time range: 2 to 4", (3,), 2, 4, "strict"),
    ("Target ID: #3; Time: 2 to 4", (3,), 2, 4, "time label"),
    ("Target ID 3 Time range 2 to 4", (3,), 2, 4, "other spelling"),
    ("Target ID\uff1a3, Time range\uff1a2 to 4", (3,), 2, 4, "other spelling"),
    ("**Target ID:** 3, **Time range:** 2 to 4", (3,), 2, 4, "other spelling"),
    ('{"Target ID": 3, "Time range": [2.0, 4.5]}', (3,), 2, 4.5, "brackets, other separator"),
    ('{"target_id": "3", "time_range": "2.0 to 4.5"}', (3,), 2, 4.5, "ID label, time label"),
    ("Object ID: 3, Time range: 2 to 4", (3,), 2, 4, "ID label"),
    ("Object 3, from 2 to 4 seconds", (3,), 2, 4, "ID label, no time label, units"),
    ("Target ID: 3, 1.5 to 4.0", (3,), 1.5, 4, "no time label"),
    ("Target ID: 3, 2 to 4", (3,), 2, 4, "no time label"),
    ("3, 1.5 to 4.0", (3,), 1.5, 4, "no ID label, no time label"),
    ("Time range: 2 to 4, Target ID: 3", (3,), 2, 4, "strict"),
    ("Target ID:\u00a03,\nTime range:\t2\nto\n4", (3,), 2, 4, "strict"),
    ("Target ID: \uff13, Time range: \uff12 to \uff14", (3,), 2, 4, "strict"),
    ("Target ID: [ID], Time range: [x]. Target ID: 3, Time range: 2 to 4", (3,), 2, 4, "strict"),
    ("Target ID: 8, Time range: 2 to 4; Target ID: 9, Time range: 5 to 6", (8,), 2, 4, "strict"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ids", "start", "end", "rule"), LENIENT)
def test_lenient(text, ids, start, end, rule):
    answer = parse_answer(wrapped(text))
    assert (answer.object_ids, answer.start_seconds, answer.end_seconds) == (ids, start, end)
    assert answer.rule == rule
    assert answer.is_valid
    assert answer.reasoning == "It moves at 2.10 to 5.00."
    strict = parse_answer(wrapped(text), strict=True)
    assert strict.rule == "strict"
    if rule == "strict":
        assert strict == answer


SEVERAL = [
    ("1 to 2, 4 to 6", [(1, 2), (4, 6)]),
    ("1.50 to 2.00, 4.00 to 6.00, and 8.00 to 9.50.", [(1.5, 2), (4, 6), (8, 9.5)]),
    ("[1 to 2], [4 to 6]", [(1, 2), (4, 6)]),
    ("[1 to 2, 4 to 6]", [(1, 2), (4, 6)]),
    ("1s - 2s; 4s - 6s", [(1, 2), (4, 6)]),
    ("0:01 to 0:02 and 1:04 to 1:06", [(1, 2), (64, 66)]),
    ("1 to 2, Time range: 4 to 6", [(1, 2), (4, 6)]),
    ("4 to 6, 1 to 2", [(1, 2), (4, 6)]),
    ("1 to 3, 2 to 6, 9 to 9, 8 to 7, 11 to 12", [(1, 6), (11, 12)]),
    ("1 to 3, 2 to 6", []),
    ("1 to 2, 9 to 8", []),
    ("1 to 2, 40%", []),
    ("1 to 2", []),
]  # fmt: skip


@pytest.mark.parametrize(("times", "ranges"), SEVERAL)
def test_several_moments(times, ranges):
    text = wrapped(f"Target ID: 4, Time range: {times}")
    answer = parse_answer(text)
    assert answer.is_valid and answer.object_ids == (4,)
    assert answer.ranges == tuple(ranges)
    if ranges:
        assert (answer.start_seconds, answer.end_seconds) == (ranges[0][0], ranges[-1][1])
    assert parse_answer(text, strict=True).ranges == ()


# What models write that were never trained for the grammar; nothing but IDs and times counts.
UNTRAINED = [
    ('```json\n{"object_id": 3, "start_time": 2.0, "end_time": 4.5}\n```', (3,), 2, 4.5),
    ('{"id": 3, "start": "2.0s", "end": "4.5s"}', (3,), 2, 4.5),
    ('{"target_id": 3, "start_time": "00:02", "end_time": "01:04.5"}', (3,), 2, 64.5),
    ('[{"object_id": 3, "time_range": [2.0, 4.5]}]', (3,), 2, 4.5),
    ('```json\n[\n {"id": 3, "start": 2.0, "end": 4.5, "label": "dog"}\n]\n```', (3,), 2, 4.5),
    ('{"object_ids": [1, 3], "start": 2, "end": 4}', (1, 3), 2, 4),
    ('{"answer": {"id": 3, "time": {"start": 2.0, "end": 4.5}}}', (3,), 2, 4.5),
    ('{"id": "3", "start_seconds": 2.0, "end_seconds": 4.5}', (3,), 2, 4.5),
    ('{"bbox_2d": [10, 20, 30, 40], "label": "3", "time": "2.0 to 4.5"}', (3,), 2, 4.5),
    ("**Object ID:** 3\n**Start:** 2.0 s\n**End:** 4.5 s", (3,), 2, 4.5),
    ("- **Target ID**: 3\n- **Time range**: 2.0 s to 4.5 s", (3,), 2, 4.5),
    ("Target ID: **3**, Time range: **2.0 to 4.5**", (3,), 2, 4.5),
    ("### Answer\nID: 3\nStart time: 2.0\nEnd time: 4.5", (3,), 2, 4.5),
    ("The object is number 3, visible from 2.0s to 4.5s.", (3,), 2, 4.5),
    ("The dog is labelled 3. It jumps between 0:02 and 0:04.", (3,), 2, 4),
    ("The dog numbered 3 jumps; it starts at 2.0 s and ends at 4.5 s.", (3,), 2, 4.5),
    ("Target ID: <3>, Time range: <2.0 to 4.5>", (3,), 2, 4.5),
    ("Target ID: 3, Time range: <2.0 seconds> to <4.5 seconds>", (3,), 2, 4.5),
    ("Target ID: 3, Time range: 2.00 s: to 4.50 s:", (3,), 2, 4.5),
    ("Target ID: 3, Time range: t=2.0 to t=4.5", (3,), 2, 4.5),
    ("\\boxed{Target ID: 3, Time range: 2.0 to 4.5}", (3,), 2, 4.5),
    ("First I see 9, from 1 to 7.</think>\n\nTarget ID: 3, Time range: 2 to 4.5", (3,), 2, 4.5),
    # Frames of a clip at 2 frames a second, the first of which is number 1.
    ("Target ID: 3, Frames 5 to 9", (3,), 2, 4.5),
    ("Target ID: 3, Time range: frame 5 to frame 9", (3,), 2, 4.5),
    ("Object 3 in frames 5-9.", (3,), 2, 4.5),
    ('{"id": 3, "start_frame": 5, "end_frame": 9}', (3,), 2, 4.5),
    ("Target ID: 3, frames 0 to 3", (3,), 0, 2),
    ("Target ID: 3, frames 18 to 20", (3,), 8.5, 9.5),
    ("Target ID: 3, Time range: 2.0 to 4.5 (frames 7 to 8)", (3,), 2, 4.5),
]


@pytest.mark.parametrize(("text", "ids", "start", "end"), UNTRAINED)
def test_what_untrained_models_write(text, ids, start, end):
    times = [i / 2 for i in range(20)]
    for whole in (text, f"<answer>{text}</answer>"):
        if "</think>" in text and "<answer>" in whole:
            continue
        answer = parse_answer(whole, frame_times=times)
        assert (answer.object_ids, answer.start_seconds, answer.end_seconds) == (ids, start, end)
        assert answer.is_valid


@pytest.mark.parametrize("text", ["Target ID: 3, frames 5 to 9", "ID 3, frames 15 to 90"])
def test_frames_are_not_taken_for_seconds(text):
    for times in (None, [0.0, 0.5, 1.0]):
        answer = parse_answer(text, frame_times=times)
        assert answer.start_seconds is None and "frames that are not those" in answer.problem


def test_reasoning_whose_start_was_not_sent():
    assert parse_answer(f"It moves.</think><answer>{GOOD}</answer>").reasoning == "It moves."


GOOD = "Target ID: 4, Time range: 1 to 3"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"<think>x</think><answer>{GOOD}", "unclosed answer tag"),
        (f"<think>x</think><answer>{GOOD}</answ", "unclosed answer tag"),
        (f"<think>x</think><answer>{GOOD}<|im_end|>", "unclosed answer tag"),
        (f"<think>x</think>{GOOD}", "no answer tag"),
        (f"<think>x</think>{GOOD}</answer>", "no answer tag"),
        (GOOD, "no answer tag"),
        (f"<think>x</think><Answer>{GOOD}</Answer>", "other spelling"),
        (f"<think>x</think>< answer >{GOOD}</ answer >", "other spelling"),
        (f"<answer>{GOOD}</answer><answer>hm</answer>", "earlier answer block"),
        (f"<answer>Target ID: 9, Time range: 5 to 6</answer><answer>{GOOD}</answer>", "strict"),
        (f"<think>x <answer>{GOOD}</answer></think>", "strict"),
        (f"<answer>{GOOD}</answer><|im_end|>", "strict"),
    ],
)
def test_tags(text, rule):
    answer = parse_answer(text)
    assert (answer.object_ids, answer.start_seconds, answer.end_seconds) == ((4,), 1, 3)
    assert (answer.rule, answer.problem) == (rule, None)


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ("8.97 to 2.83", "is reversed"),
        ("3 to 3", "is empty"),
        ("-9.4 to 15", "is negative"),
        ("0.5 to \u22124.85", "is negative"),
        ("nan to 3", "is not finite"),
        ("0 to inf", "is not finite"),
        ("1 to " + "9" * 400, "is not finite"),
    ],
)
def test_bad_times_are_reported_not_repaired(times, problem):
    answer = parse_answer(wrapped(f"Target ID: 4, Time range: {times}"))
    assert not answer.is_valid
    assert problem in answer.problem
    assert answer.object_ids == (4,)
    assert answer.start_seconds is not None and answer.end_seconds is not None
    if "reversed" in problem:
        assert (answer.start_seconds, answer.end_seconds) == (8.97, 2.83)


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "None of the objects does this.",
        "Target ID: none, Time range: none",
        "There is no such object in the video.",
        "No matching target",
        "I do not know",
        "I can\u2019t tell",
        "The dog is not visible",
        "N/A",
        "null",
    ],
)
def test_declined_answers_say_so(text):
    for whole in (wrapped(text), f"<answer>{text}", text, wrapped(GOOD) + wrapped(text)):
        answer = parse_answer(whole)
        assert answer.object_ids == ()
        assert answer.problem.startswith("the model says ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("<think>It moves at 2 to 4, Target ID: 3", "ends within its reasoning"),
        ("<think>x</think>", "ends within its reasoning"),
        ("<answer></answer>", "answer block is empty"),
        ("<answer> \n </answer>", "answer block is empty"),
        (wrapped("Target ID: 2"), "no time range"),
        (wrapped("Time range: 1 to 3"), "no object ID"),
        (wrapped("Target ID: three, Time range: 1 to 3"), "no object ID"),
        (wrapped("Target ID: -3, Time range: 1 to 3"), "no object ID"),
        (wrapped("Target ID: 7, Time range: 6% to 47%"), "no time range"),
        (wrapped("Target ID: 7, Time range: 6.8e0 to 9"), "no time range"),
        (wrapped("The answer is 42."), "no object ID"),
        (wrapped("Target ID: " + "7" * 4301 + ", Time range: 1 to 3"), ID_TOO_LONG),
        (wrapped("Target IDs: " + "7" * 4301 + ", Time range: 1 to 3"), "no object ID"),
        ("\ud800<answer>\udfff</answer>\x00", "no object ID"),
    ],
)
def test_unusable_text_gives_a_reason(text, problem):
    answer = parse_answer(text)
    assert problem in answer.problem
    assert not answer.is_valid
    assert parse_answer(text, strict=True).problem is not None


def test_longest_id_is_read_and_one_more_digit_is_not():
    for digits in (4300, 4301):
        answer = parse_answer(wrapped("Target ID: " + "7" * digits + ", Time range: 1 to 3"))
        assert (answer.problem == ID_TOO_LONG) == (digits == 4301)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>" * 12_500,
        "<think>" * 14_000,
        "</think> <answer>" * 6_000,
        "Target ID: " * 9_000,
        "<answer>Target ID:" + "1," * 50_000 + "</answer>",
        "<answer>Time range: " + "1 " * 50_000 + "</answer>",
        "<answer>Time range:" + " " * 100_000 + "</answer>",
        "<answer>Time range: " + "1" * 100_000 + "</answer>",
        "9" * 100_000,
        "1:" * 50_000,
        "1,1." * 25_000,
        "1 to " * 20_000,
        "start 1 " * 12_000,
        "frames 1 to " * 8_000,
        "</think>" * 12_000,
        "between 1 " * 10_000,
        "id " * 33_000,
        "no " * 33_000,
        " <" * 50_000,
        "[" * 100_000,
        "\u0301" * 100_000,
    ],
    ids=range(21),
)
@pytest.mark.parametrize("read", [parse_answer, parse_time_answer])
def test_no_text_is_slow(text, read):
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        read(text)
        read(text, strict=True)
        best = min(best, time.process_time() - start)
    assert best < 0.1


def test_no_text_raises():
    pieces = ["<answer>", "</answer>", "<think>", "</think>", "Target ID:", "Time range:", " to "]
    pieces += [" ", "1", "2.5", "-", ":", ",", "[", "]", "and", "nan", "s", "\u0663", "%", "\n"]
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(rng.choices(pieces, k=rng.randint(0, 25)))
        for strict in (True, False):
            answer = parse_answer(text, strict=strict)
            usable = bool(answer.object_ids) and answer.end_seconds is not None
            assert usable or answer.problem, text
        # What the official parser reads, the lenient one never reads as another object.
        official = parse_answer(text, strict=True)
        if official.object_ids:
            assert parse_answer(text).object_ids[:1] == official.object_ids


@pytest.mark.parametrize(
    ("text", "start", "end", "rule"),
    [
        ("<think>1 to 2</think><answer>12.54 to 17.83</answer>", 12.54, 17.83, "strict"),
        ("<answer>1:02 to 1:10</answer>", 62.0, 70.0, "clock times"),
        ("<answer>from 2.5s to 3.5s</answer>", 2.5, 3.5, "units"),
        ("<answer>1 to 2, 3 to 4</answer>", 3.0, 4.0, "strict"),
        ("12.54 to 17.83", 12.54, 17.83, "no answer tag"),
        ("<answer>between 3.1 and 4.1</answer>", 3.1, 4.1, "strict"),
        ("<answer>Target ID: 3, Time range: 1.50 to 4.00</answer>", 1.5, 4.0, "strict"),
    ],
)
def test_time_alone(text, start, end, rule):
    answer = parse_time_answer(text)
    assert (answer.start_seconds, answer.end_seconds, answer.rule) == (start, end, rule)
    assert answer.object_ids == () and answer.problem is None


@pytest.mark.parametrize(
    "text", ["", "no", "<think>1 to 2</think><answer>9.9</answer>", "<answer>5 to 1</answer>"]
)
def test_time_alone_is_not_guessed(text):
    assert parse_time_answer(text).problem is not None
    assert parse_time_answer("<think>1 to 2</think>x", strict=True).end_seconds == 2.0
