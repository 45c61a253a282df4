"""Who plays in a scene and what each does when, so that its question is worth asking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stvg_r1_hub.sprites.difficulty import Level
from stvg_r1_hub.sprites.motion import Event
from stvg_r1_hub.sprites.placing import Role
from stvg_r1_hub.sprites.question import BIGGER, Question
from stvg_r1_hub.sprites.scene import TIME_STEP, TINTS


def draw_cast(
    rng: np.random.Generator, spec: Level, form: str, question: Question, duration: float
) -> list[Role]:
    """The target first, then what makes the question hard, then anything.

    Args:
        rng: drawn from.
        spec: of the level.
        form: of the question, one of `spec.forms`.
        question: what will be asked; in the form `"none"` nothing answers it.
        duration: of the clip, in seconds.
    """
    n = int(rng.integers(spec.n_objects[0], spec.n_objects[1] + 1))
    size = float(rng.uniform(*spec.sizes))
    tint = question.appearance if question.appearance in TINTS else ""
    if question.appearance == "big":
        size = spec.sizes[1]
    elif question.appearance == "small":
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
    if question.appearance or question.side:
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
    size = float(rng.uniform(*sizes.get(question.appearance, spec.sizes)))
    tints = (
        ["", *(t for t in TINTS if t != question.appearance)]
        if question.appearance in TINTS
        else [""]
    )
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
