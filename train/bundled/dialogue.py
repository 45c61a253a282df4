"""What the bundled model is taught to say about a scene.

The reasoning first says in the listing's own words what is asked for, then lists every numbered
object with its actions and times, and decides for each whether it is the asked one. Without these
two steps a model of this size learns to list, but not to find the asked object in its own listing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stvg_r1_hub.prompting import build_prompt
from stvg_r1_hub.sprites.motion import SceneObject
from stvg_r1_hub.sprites.question import BIGGER, VERBS, Question
from stvg_r1_hub.sprites.scene import TINTS, Scene
from stvg_r1_hub.vlm.reader import ASKED

NOTHING = "none"
"""The answered ID when nothing in the clip is what the query describes."""
EVERYTHING = {"": "everything", "tint": "everything with colors", "size": "everything with sizes"}
"""Queries that ask for the list alone."""


@dataclass(frozen=True)
class Dialogue:
    """One question and what the model shall say."""

    prompt: str
    answer: str
    grid_steps: int
    """Temporal steps of the clip that the question is about."""


def canonical(action: str) -> str:
    """How a listing names an action."""
    return VERBS[action][0].third_person if action else "rests"


def question_dialogue(
    scene: Scene, numbers: dict[int, int], grid_steps: int, prompt_id: str
) -> Dialogue:
    """The scene's question.

    Args:
        scene: what happens.
        numbers: object ID to the number drawn on it.
        grid_steps: temporal steps of the clip.
        prompt_id: of the bundle's config.
    """
    question = scene.question
    appearance = _asked_appearance(question.appearance)
    asked = (
        f" {_noun(question.kind, question.appearance)}{ASKED} {canonical(question.action)}{ASKED}"
    )
    if question.side:
        asked += f" {question.side} of {question.other}"
    if question.order:
        asked += f" {question.order} {question.other} {canonical(question.other_action)}"
    parts = [f"{asked}.", *_listing(scene, numbers, appearance, question)]
    parts += _resolution(scene, numbers, question)
    if scene.target_id is None or scene.answer_range is None:
        answer = f"Target ID: {NOTHING}"
    else:
        start, end = scene.answer_range
        answer = f"Target ID: {numbers[scene.target_id]}, Time range: {start:.2f} to {end:.2f}"
    text = f"<think>{' '.join(parts)}</think><answer>{answer}</answer>"
    return Dialogue(build_prompt(scene.query, prompt_id), text, grid_steps)


def dense_dialogue(
    scene: Scene, numbers: dict[int, int], grid_steps: int, prompt_id: str, appearance: str = ""
) -> Dialogue:
    """The list of all objects alone; `appearance` is `""`, `"tint"` or `"size"`."""
    text = f"<think>{' '.join(_listing(scene, numbers, appearance, None))}</think>"
    return Dialogue(build_prompt(EVERYTHING[appearance], prompt_id), text, grid_steps)


def _asked_appearance(appearance: str) -> str:
    return "tint" if appearance in TINTS else "size" if appearance else ""


def _noun(kind: str, appearance: str) -> str:
    return f"{appearance} {kind}" if appearance else kind


def _appearance(thing: SceneObject, objects: Sequence[SceneObject], appearance: str) -> str:
    """What a listing says of an object's looks: its tint, or its size among its kind."""
    if appearance == "tint":
        return thing.tint
    others = [o.size for o in objects if o.kind == thing.kind and o is not thing]
    if appearance == "size" and others:
        if thing.size >= BIGGER * max(others):
            return "big"
        if thing.size * BIGGER <= min(others):
            return "small"
    return ""


def _listing(
    scene: Scene, numbers: dict[int, int], appearance: str, question: Question | None
) -> list[str]:
    parts = []
    for thing in sorted(scene.objects, key=lambda o: numbers[o.object_id]):
        seen = _appearance(thing, scene.objects, appearance)
        is_kind = (
            question is not None and thing.kind == question.kind and seen == question.appearance
        )  # fmt: skip
        events = []
        for event in thing.events:
            flag = ASKED if is_kind and question and event.name == question.action else ""
            span = f"{event.start_seconds:.2f} to {event.end_seconds:.2f}"
            events.append(f" {canonical(event.name)}{flag} {span}")
        rests = f" {canonical('')}{ASKED if is_kind and question and not question.action else ''}"
        noun = _noun(thing.kind, seen) + (ASKED if is_kind else "")
        parts.append(f"{numbers[thing.object_id]} {noun}{','.join(events) or rests}.")
    return parts


def _resolution(scene: Scene, numbers: dict[int, int], question: Question) -> list[str]:
    """What else must be looked up: sides of the candidates, or the time of the other event."""
    others = [o for o in scene.objects if o.kind == question.other]
    if question.order:
        return [
            f"{question.other} {canonical(e.name)} {e.start_seconds:.2f} to {e.end_seconds:.2f}."
            for o in others
            for e in o.events
            if e.name == question.other_action
        ][:1]
    if not question.side or len(others) != 1:
        return []
    parts = []
    for thing in sorted(scene.objects, key=lambda o: numbers[o.object_id]):
        event = next((e for e in thing.events if e.name == question.action), None)
        if thing.kind != question.kind or event is None:
            continue
        middle = np.array([(event.start_seconds + event.end_seconds) / 2])
        gap = float(thing.poses(middle).x[0] - others[0].poses(middle).x[0])
        side = "left" if gap < 0 else "right"
        parts.append(
            f"{numbers[thing.object_id]} {side} of {numbers[others[0].object_id]}."
        )  # fmt: skip
    return parts
