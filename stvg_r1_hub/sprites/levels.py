"""The levels of sprite world: from a seed to a scene.

* `easy`: ten kinds, five actions, one event an object, no overlap, a smooth backdrop that stands
  still, five wordings.
* `medium`: twenty kinds, nine actions, up to two events an object, textures, a shaky camera,
  light occlusion, looks ("the blue dog"), synonyms, questions that nothing answers.
* `hard`: all kinds and actions, 4 to 10 seconds, up to six objects and three events each, entries
  and exits, photographs, pan and zoom, occlusion, relations, sequences, negation, compression.
* `crowd`: the questions of `medium` among 12 to 30 small objects; no model was trained on it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from stvg_r1_hub.sprites import easy
from stvg_r1_hub.sprites.casting import draw_cast
from stvg_r1_hub.sprites.difficulty import CROWD, HARD, MEDIUM, Level
from stvg_r1_hub.sprites.motion import Camera, SceneObject
from stvg_r1_hub.sprites.placing import Placing, is_occluded
from stvg_r1_hub.sprites.question import Question
from stvg_r1_hub.sprites.scene import TINTS, Scene

_TRIES = 100
_LEVELS = {"medium": MEDIUM, "hard": HARD, "crowd": CROWD}
LEVELS = ("easy", *_LEVELS)


def sample_scene(level: str, seed: tuple[int, ...], *, duration_seconds: float = 0) -> Scene:
    """Draw a scene; the same arguments give the same scene on every machine.

    Args:
        level: one of `LEVELS`.
        seed: any non-negative integers, such as `(world seed, clip number)`.
        duration_seconds: length of the clip; 0 draws one of the level's.

    Raises:
        ValueError: an unknown level.
    """
    if level == "easy":
        return easy.sample_scene(seed, duration_seconds=duration_seconds)
    if level not in _LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    rng = np.random.default_rng([*seed, 0, len(level)])
    spec = _LEVELS[level]
    duration = duration_seconds or float(rng.choice(spec.durations))
    form = str(rng.choice(list(spec.forms), p=list(spec.forms.values())))
    # A form that will not fit this seed gives way to the plain one, which soon does.
    forms = itertools.chain(itertools.repeat(form, _TRIES), itertools.repeat("plain"))
    scenes = (_try_scene(rng, level, spec, seed, duration, asked) for asked in forms)
    return next(scene for scene in scenes if scene is not None)


def _try_scene(
    rng: np.random.Generator,
    level: str,
    spec: Level,
    seed: tuple[int, ...],
    duration: float,
    form: str,
) -> Scene | None:
    question = _draw_question(rng, spec, form)
    cast = draw_cast(rng, spec, form, question, duration)
    placing = Placing(rng, duration, spec.overlap, spec.perspective)
    objects = placing.place(cast, occlude=bool(rng.random() < spec.occlusion))
    if objects is None:
        return None
    if form == "relation" and len(question.answers(objects, duration)) != 1:
        question = _opposite(question)  # so seldom is either side right that both are tried
    answers = question.answers(objects, duration)
    if len(answers) != (0 if form == "none" else 1) or _reads_otherwise(question, objects, form):
        return None
    order = rng.permutation(len(objects))
    numbered = [replace(o, object_id=int(n) + 1) for o, n in zip(objects, order, strict=True)]
    answered = [(numbered[objects.index(thing)], start, end) for thing, start, end in answers]
    target, span = (answered[0][0], answered[0][1:]) if answered else (None, None)
    query, template = question.wording(rng)
    return Scene(
        seed=seed,
        duration_seconds=duration,
        fps=float(rng.choice([12, 15, 20, 24, 25, 30])),
        objects=tuple(sorted(numbered, key=lambda o: o.object_id)),
        query=query,
        question=question,
        target_id=target.object_id if target else None,
        answer_range=span,
        camera=_draw_camera(rng, spec),
        backdrop=str(rng.choice(spec.backdrops)),
        compression=int(rng.integers(0, spec.compression + 1)),
        traits={
            "form": form,
            "action": question.action or "rest",
            "wording": template,
            "same kind": _yes(sum(o.kind == question.kind for o in objects) > 1),
            "occluded": _yes(bool(target and span and is_occluded(target, numbered, span))),
        },
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _draw_question(rng: np.random.Generator, spec: Level, form: str) -> Question:
    kind, action = str(rng.choice(spec.kinds)), str(rng.choice(spec.actions))
    other = str(rng.choice([k for k in spec.kinds if k != kind]))
    if form == "attribute":
        return Question(kind, action, appearance=str(rng.choice([*TINTS, "big", "small"])))
    if form == "relation":
        # What comes or goes has no side to be on.
        actions = [a for a in spec.actions if a not in ("enter", "leave")]
        side = str(rng.choice(("left", "right")))
        return Question(kind, str(rng.choice(actions)), side=side, other=other)
    if form == "sequence":
        order = str(rng.choice(("after", "before")))
        return Question(
            kind, action, order=order, other=other, other_action=str(rng.choice(spec.actions))
        )
    return Question(kind, "" if form == "rest" else action)


def _opposite(question: Question) -> Question:
    return replace(question, side="left" if question.side == "right" else "right")


def _reads_otherwise(question: Question, objects: list[SceneObject], form: str) -> bool:
    """Whether the words are empty or mislead: looks that single out nothing, a twin that rests."""
    if form == "attribute":
        plain = replace(question, appearance="")
        return len(plain.answers(objects, 0.0)) < 2
    if form == "relation":
        # Each twin must stand clearly on the other side all the while.
        twins = len(replace(question, side="").answers(objects, 0.0))
        return twins < 2 or twins != 1 + len(_opposite(question).answers(objects, 0.0))
    if form == "none":
        return not any(
            o.kind == question.kind or any(e.name == question.action for e in o.events)
            for o in objects
        )
    return False


def _draw_camera(rng: np.random.Generator, spec: Level) -> Camera:
    moves = rng.random() < 0.6
    pan = rng.uniform(-spec.pan, spec.pan, 2) * moves
    zoom = float(rng.uniform(-spec.zoom, spec.zoom)) * moves
    shake = float(rng.uniform(0, spec.shake)) * bool(rng.random() < 0.6)
    phases = tuple(float(p) for p in rng.uniform(0, 2 * np.pi, 4))
    return Camera((float(pan[0]), float(pan[1])), zoom, shake, phases)
