"""Checks of answer_parsing.json and prompt_and_training_examples.json."""

import hashlib
import json
import tempfile
from collections import Counter
from pathlib import Path

from stvg_r1_hub.answer import ID_TOO_LONG, parse_answer
from stvg_r1_hub.prompting import PROMPTS, build_prompt
from tests.golden.compare import cases_of, differences, need, unwrap
from train.data.dataset import load_examples
from train.rewards import format_reward, localization_reward


def check_answers(data, folder, where):
    """Strict parser, format reward and combined reward of every case."""
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        text = need(case, "output", here)
        expected = {
            "parse": need(case, "expected_parse", here),
            "format": need(case, "format_reward", here),
            "rewards": need(case, "iou_timestamp_reward", here),
        }
        solutions = need(case, "solutions", here)
        yield (
            str(case.get("name", i)),
            lambda expected=expected, text=text, solutions=solutions: differences(
                unwrap(expected), _answer(text, unwrap(solutions))
            ),
        )


def _answer(text, solutions):
    answer = parse_answer(text, strict=True)
    parse = {
        "target_id": answer.object_ids[0] if answer.object_ids else None,
        "start": answer.start_seconds,
        "end": answer.end_seconds,
    }
    rewards = [localization_reward(text, solution) for solution in solutions]
    if answer.problem == ID_TOO_LONG:
        # Where the official code raises we report a problem, and the reward is 0.
        parse["error"] = "ValueError"
        rewards = [{"error": "ValueError"} if reward == 0 else reward for reward in rewards]
    return {"parse": parse, "format": format_reward(text), "rewards": rewards}


def check_prompts(data, folder, where):
    """The template, every filled prompt, and the training examples in any order."""
    template = need(data, "prompt_template", where)
    digest = need(data, "prompt_template_sha256", where)
    ours = PROMPTS["stvg-r1"]
    wrong = differences(template, ours, "prompt_template") + differences(
        digest, hashlib.sha256(ours.encode()).hexdigest(), "prompt_template_sha256"
    )
    annotation = need(data, "annotation", where)
    for i, case in enumerate(cases_of(data, "cases", where)):
        here = f"{where} case {i}"
        sentence, prompt = need(case, "sentence", here), need(case, "prompt", here)
        yield (
            f"prompt {i}",
            lambda sentence=sentence, prompt=prompt: (
                wrong + differences(prompt, str(build_prompt(sentence)), "prompt")
            ),
        )
    yield from _check_examples(cases_of(data, "expected_train_examples", where), annotation, where)


def _check_examples(expected, annotation, where):
    for i, case in enumerate(expected):
        for field in ("video_id", "preprocessed_path"):
            need(case, field, f"{where} example {i}")
    # The official run saw files of exactly these videos; the path's root is not an input either.
    with tempfile.TemporaryDirectory() as folder:
        for case in expected:
            (Path(folder) / f"{case['video_id']}.mp4").touch()
        folders = Counter(str(case["preprocessed_path"]).rpartition("/")[0] for case in expected)
        root, _, split = folders.most_common(1)[0][0].rpartition("/") if expected else ("", "", "")
        path = Path(folder) / "annotation.json"
        path.write_text(json.dumps(annotation), encoding="utf-8")
        loaded = load_examples(path, Path(folder), preprocessed_root=root, split=split)
    left = [
        {
            "video_id": example.video_id,
            "problem": example.problem,
            "solution": list(example.solution),
            "durations": example.duration_seconds,
            "preprocessed_path": example.preprocessed_path,
        }
        for example in loaded
    ]
    for i, case in enumerate(expected):
        match = next((one for one in left if not differences(case, one)), None)
        if match is not None:
            left.remove(match)
        problem = [] if match is not None else [f"no loaded example equals {str(case)[:200]}"]
        yield f"example {i}", lambda problem=problem: problem
    for one in left:
        yield "unexpected example", lambda one=one: [f"not expected: {str(one)[:200]}"]
