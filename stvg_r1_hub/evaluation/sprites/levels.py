"""The levels of sprite world: from a seed to a scene.

* `easy`: ten kinds, five actions, one event an object, no overlap, a smooth backdrop that stands
  still, five wordings.
* `medium`: twenty kinds, nine actions, up to two events an object, textures, a shaky camera,
  light occlusion, looks ("the blue dog"), synonyms, questions that nothing answers.
* `hard`: all kinds and actions, 4 to 10 seconds, up to six objects and three events each, entries
  and exits, photographs, pan and zoom, occlusion, relations, sequences, negation, compression.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from stvg_r1_hub.evaluation.sprites import easy
from stvg_r1_hub.evaluation.sprites.motion import ACTIONS, Camera, Event, SceneObject
from stvg_r1_hub.evaluation.sprites.placing import Placing, Role, is_occluded
from stvg_r1_hub.evaluation.sprites.question import BIGGER, Question
from stvg_r1_hub.evaluation.sprites.scene import KINDS, TIME_STEP, TINTS, Scene

_TRIES = 100


@dataclass(frozen=True)
class Level:
    """What a level draws from. Shares are probabilities in 0..1."""

    kinds: tuple[str, ...]
    actions: tuple[str, ...]
    durations: tuple[float, ...]
    n_objects: tuple[int, int]
    """Fewest and most."""
    most_events: int
    forms: dict[str, float]
    """Share of each form of question; `"none"` is a question that nothing answers."""
    same_kind: float
    """Share of clips with another object of the target's kind."""
    occlusion: float
    """Share of clips in which something is to pass before the target."""
    overlap: float
    """Largest share of an object that another may cover otherwise."""
    sizes: tuple[float, float]
    perspective: float
    """Objects at the top of the frame are smaller by this share."""
    tinted: float
    backdrops: tuple[str, ...]
    pan: float
    zoom: float
    shake: float
    compression: int


MEDIUM = Level(
    kinds=KINDS[:20],
    actions=(*ACTIONS[:5], "shrink", "rise", "sink", "fade"),
    durations=(3.0, 4.0, 5.0),
    n_objects=(2, 4),
    most_events=2,
    forms={"plain": 0.7, "attribute": 0.15, "none": 0.15},
    same_kind=0.65,
    occlusion=0.15,
    overlap=0.25,
    sizes=(0.2, 0.32),
    perspective=0.0,
    tinted=0.15,
    backdrops=("smooth", "texture"),
    pan=0.0,
    zoom=0.0,
    shake=0.006,
    compression=4,
)
HARD = Level(
    kinds=KINDS,
    actions=ACTIONS,
    durations=tuple(float(d) for d in np.arange(4.0, 10.5, 1.0)),
    n_objects=(2, 6),
    most_events=3,
    forms={
        "plain": 0.42, "attribute": 0.12, "relation": 0.12, "sequence": 0.12, "rest": 0.08,
        "none": 0.14,
    },
    same_kind=0.85,
    occlusion=0.95,
    overlap=0.35,
    sizes=(0.15, 0.3),
    perspective=0.35,
    tinted=0.2,
    backdrops=("smooth", "texture", "photo", "photo"),
    pan=0.12,
    zoom=0.12,
    shake=0.012,
    compression=10,
)  # fmt: skip
_LEVELS = {"medium": MEDIUM, "hard": HARD}
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
    cast = _draw_cast(rng, spec, form, question, duration)
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
        return Question(kind, action, looks=str(rng.choice([*TINTS, "big", "small"])))
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
        plain = replace(question, looks="")
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


def _draw_cast(
    rng: np.random.Generator, spec: Level, form: str, question: Question, duration: float
) -> list[Role]:
    """The target first, then what makes the question hard, then anything."""
    n = int(rng.integers(spec.n_objects[0], spec.n_objects[1] + 1))
    size = float(rng.uniform(*spec.sizes))
    tint = question.looks if question.looks in TINTS else ""
    if question.looks == "big":
        size = spec.sizes[1]
    elif question.looks == "small":
        size = spec.sizes[0] * 0.9
    elif not tint and rng.random() < spec.tinted and form != "attribute":
        tint = str(rng.choice(list(TINTS)))
    first = None if form == "none" else question.action
    times = 2 if form == "sequence" and spec.most_events > 1 else 1
    cast = [Role(question.kind, tint, size, _draw_events(rng, spec, duration, first, times))]
    if form == "none":
        # The kind does something else, and another kind does what is asked.
        cast = [
            replace(cast[0], events=_draw_events(rng, spec, duration, avoid=question.action)),
            _any_role(rng, spec, duration, action=question.action, avoid_kind=question.kind),
        ]
        if rng.random() < 0.5:
            cast.reverse()
    if question.looks or question.side:
        cast.append(_twin(rng, spec, question, duration))
    if question.other:
        cast.append(
            _any_role(rng, spec, duration, kind=question.other, action=question.other_action)
        )
    wants_twin = form != "none" and rng.random() < spec.same_kind
    if wants_twin and not any(r.kind == question.kind for r in cast[1:]):
        cast.append(_any_role(rng, spec, duration, kind=question.kind, avoid=question.action))
    while len(cast) < n:
        if question.action and rng.random() < 0.4:
            cast.append(
                _any_role(
                    rng, spec, duration, action=question.action, avoid_kind=question.kind
                )
            )  # fmt: skip
        else:
            cast.append(_any_role(rng, spec, duration, avoid=question.action))
    return cast[: max(n, 2 + bool(question.other) + bool(question.side))]


def _twin(rng: np.random.Generator, spec: Level, question: Question, duration: float) -> Role:
    """Another object of the same kind that does the same, but looks or stands otherwise."""
    low, high = spec.sizes
    sizes = {"big": (low, high / BIGGER * 0.95), "small": (low * 0.9 * BIGGER * 1.05, high)}
    size = float(rng.uniform(*sizes.get(question.looks, spec.sizes)))
    tints = ["", *(t for t in TINTS if t != question.looks)] if question.looks in TINTS else [""]
    events = _draw_events(rng, spec, duration, question.action)
    return Role(question.kind, str(rng.choice(tints)), size, events)


def _any_role(
    rng: np.random.Generator,
    spec: Level,
    duration: float,
    *,
    kind: str = "",
    action: str = "",
    avoid: str = "",
    avoid_kind: str = "",
) -> Role:
    kinds = [k for k in spec.kinds if k != avoid_kind]
    tint = str(rng.choice(list(TINTS))) if rng.random() < spec.tinted else ""
    events = _draw_events(rng, spec, duration, action or None, avoid=avoid)
    return Role(kind or str(rng.choice(kinds)), tint, float(rng.uniform(*spec.sizes)), events)


def _draw_events(
    rng: np.random.Generator,
    spec: Level,
    duration: float,
    action: str | None = None,
    times: int = 1,
    *,
    avoid: str = "",
) -> tuple[Event, ...]:
    """Events in order of time with rests between them; `action` occurs `times` times.

    An empty `action` means none at all.
    """
    if action == "":
        return ()
    middle = [a for a in spec.actions if a not in ("enter", "leave", avoid)]
    wanted = [action] * times if action else []
    room = min(spec.most_events, max(1, int(duration // 1.75)))
    n = int(rng.choice([1, 1, 1, 2, 2, 3][: 3 + 2 * (room > 1) + (room > 2)]))
    if not action:
        n = 0 if rng.random() < 0.25 else n
    names = wanted + [str(rng.choice(middle)) for _ in range(max(0, min(n, room) - len(wanted)))]
    rng.shuffle(names)
    if "enter" in names:
        names = ["enter", *(x for x in names if x != "enter")]
    elif "leave" in names:
        names = [*(x for x in names if x != "leave"), "leave"]
    elif "enter" in spec.actions and len(names) < room and rng.random() < 0.15:
        side = "enter" if rng.random() < 0.5 else "leave"
        if side != avoid:
            names = ["enter", *names] if side == "enter" else [*names, "leave"]
    return _schedule(rng, names, duration)


def _schedule(rng: np.random.Generator, names: list[str], duration: float) -> tuple[Event, ...]:
    """Give each event a time; all lie inside the clip with a rest before, between and after."""
    steps = round(duration / TIME_STEP)
    least = 4
    spare = steps - 1 - len(names) * (least + 1)
    events: list[Event] = []
    position = 1
    for i, name in enumerate(names):
        left = len(names) - i
        longer = int(rng.integers(0, min(6, max(0, spare // left)) + 1))
        spare -= longer
        wait = int(rng.integers(0, max(0, spare) // left + 1))
        spare -= wait
        start = position + wait
        end = start + least + longer
        position = end + 1
        length = (end - start) * TIME_STEP
        events.append(
            Event(name, start * TIME_STEP, end * TIME_STEP, _draw_amount(rng, name, length))
        )
    return tuple(events)


def _draw_amount(rng: np.random.Generator, action: str, length: float) -> float:
    sign = float(rng.choice([-1, 1]))
    match action:
        case "walk" | "enter" | "leave":  # the latter two are stretched to cross the border
            return sign * min(float(rng.uniform(0.14, 0.24)) * length, 0.45)
        case "rise" | "sink":
            return min(float(rng.uniform(0.14, 0.22)) * length, 0.4)
        case "jump":
            return float(rng.uniform(0.12, 0.18))
        case "spin":
            return sign * max(1, round(0.7 * length))
        case "flip":
            return float(max(1, round(0.6 * length)))
        case "grow":
            return float(rng.uniform(0.5, 0.8))
        case "shrink":
            return float(rng.uniform(0.35, 0.5))
        case "shake":
            return float(rng.uniform(16, 24))
        case "circle":
            return sign * float(rng.uniform(0.07, 0.11))
        case _:  # fade
            return float(rng.uniform(0.7, 0.85))


def _draw_camera(rng: np.random.Generator, spec: Level) -> Camera:
    moves = rng.random() < 0.6
    pan = rng.uniform(-spec.pan, spec.pan, 2) * moves
    zoom = float(rng.uniform(-spec.zoom, spec.zoom)) * moves
    shake = float(rng.uniform(0, spec.shake)) * bool(rng.random() < 0.6)
    phases = tuple(float(p) for p in rng.uniform(0, 2 * np.pi, 4))
    return Camera((float(pan[0]), float(pan[1])), zoom, shake, phases)
