"""Checks of answer_parsing.json and prompt_and_training_examples.json."""

import hashlib

from stvg_r1_hub.answer import ID_TOO_LONG, parse_answer
from stvg_r1_hub.prompting import PROMPTS, build_prompt
from tests.golden.compare import cases_of, differences, need, unwrap
from train.data.preparer import normalize_query
from train.rewards import REWARDS, Completion, GroundTruth


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
    completion, rewards = Completion(text), []
    for object_id, start, end in solutions:
        truth = GroundTruth((object_id,), start, end, duration_seconds=end)
        rewards.append(sum(REWARDS[name](completion, truth) for name in ("tiou", "id")))
    if answer.problem == ID_TOO_LONG:
        # Where the official code raises we report a problem, and the reward is 0.
        parse["error"] = "ValueError"
        rewards = [{"error": "ValueError"} if reward == 0 else reward for reward in rewards]
    return {"parse": parse, "format": REWARDS["format"](completion, truth), "rewards": rewards}


def check_prompts(data, folder, where):
    """The template, every filled prompt, and the sentences of the training examples."""
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
    for i, case in enumerate(cases_of(data, "expected_train_examples", where)):
        here = f"{where} example {i}"
        problem, path = need(case, "problem", here), need(case, "preprocessed_path", here)
        video_id, _, index = path.rpartition("/")[2].rpartition("_")
        ours = normalize_query(annotation[video_id]["sentences"][int(index)])
        yield f"example {i}", lambda ours=ours, right=problem: differences(right, ours, "problem")
