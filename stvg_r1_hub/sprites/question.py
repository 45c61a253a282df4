"""What is asked about a clip: a meaning that can be looked up in the scene, and its wordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stvg_r1_hub.sprites.motion import Event, SceneObject

BIGGER = 1.5
"""The big one of a kind is so many times as large as every other of its kind."""
APART = 0.12
"""An object is left of another when their middles are at least so far apart."""


class Verb(NamedTuple):
    """The forms of an action's name that queries use."""

    third_person: str
    gerund: str
    past: str


_FORMS = {  # of third person, gerund, past
    "walk": "walks/walking/walked, strolls/strolling/strolled, "
    "moves sideways/moving sideways/moved sideways",
    "jump": "jumps/jumping/jumped, hops/hopping/hopped, bounces/bouncing/bounced",
    "spin": "spins/spinning/spun, rotates/rotating/rotated, twirls/twirling/twirled",
    "grow": "grows/growing/grew, gets bigger/getting bigger/got bigger, swells/swelling/swelled",
    "shake": "shakes/shaking/shook, trembles/trembling/trembled, wobbles/wobbling/wobbled",
    "shrink": "shrinks/shrinking/shrank, gets smaller/getting smaller/got smaller",
    "rise": "rises/rising/rose, floats up/floating up/floated up, climbs/climbing/climbed",
    "sink": "sinks/sinking/sank, drops/dropping/dropped, goes down/going down/went down",
    "circle": "circles/circling/circled, loops around/looping around/looped around",
    "fade": "fades/fading/faded, turns transparent/turning transparent/turned transparent",
    "flip": "flips/flipping/flipped, turns around/turning around/turned around",
    "enter": "enters/entering/entered, comes in/coming in/came in",
    "leave": "leaves/leaving/left, goes away/going away/went away",
}
VERBS: dict[str, tuple[Verb, ...]] = {
    action: tuple(Verb(*forms.split("/")) for forms in listed.split(", "))
    for action, listed in _FORMS.items()
}
"""Wordings of each action; the first is how listings name it."""
OTHER_NAMES = {
    "dog": "puppy", "pig": "piglet", "frog": "toad", "car": "jeep", "ball": "football",
    "bee": "bumblebee", "turtle": "tortoise", "fish": "little fish", "sheep": "lamb",
    "cat": "kitten", "chicken": "hen", "rabbit": "bunny", "robot": "android", "horse": "stallion",
    "crocodile": "alligator", "boat": "sailboat", "truck": "lorry", "bicycle": "bike",
    "train": "locomotive", "dinosaur": "dino",
}  # fmt: skip
PLAIN_WORDINGS = (
    "the {kind} {gerund}",
    "the {gerund} {kind}",
    "the {kind} that {third}",
    "the {kind} that is {gerund}",
    "a {kind} {third}",
)
"""The easy level's, and the first of the other levels'."""
MORE_WORDINGS = (
    "the {kind} which {third}",
    "the {kind} that {past}",
    "the {kind} that was {gerund}",
    "a {gerund} {kind}",
    "find the {kind} that {third}",
    "when does the {kind} start and stop {gerund}",
    "which {kind} {third}",
    "the moment the {kind} {third}",
    "there is a {kind} {gerund}",
)
REST_WORDINGS = (
    "the {kind} that does not move",
    "the {kind} that never moves",
    "the {kind} standing still",
    "the {kind} that is not doing anything",
)


@dataclass(frozen=True)
class Question:
    """What is asked: an object by kind and appearance, and one of its actions."""

    kind: str
    action: str
    """Name of the action; empty asks for the one that does nothing throughout."""
    appearance: str = ""
    """A tint's name, `"big"`, `"small"`, or empty."""
    side: str = ""
    """`"left"` or `"right"` of the only object of kind `other`; or empty."""
    order: str = ""
    """`"after"` or `"before"` the only time that kind `other` does `other_action`; or empty."""
    other: str = ""
    other_action: str = ""

    @property
    def form(self) -> str:
        """`"rest"`, `"relation"`, `"sequence"`, `"attribute"` or `"plain"`."""
        if not self.action:
            return "rest"
        return (
            "relation" if self.side else "sequence" if self.order
            else "attribute" if self.appearance else "plain"
        )  # fmt: skip

    def answers(
        self, objects: Sequence[SceneObject], duration_seconds: float
    ) -> list[tuple[SceneObject, float, float]]:
        """Every object and `[start, end)` in seconds that the words describe."""
        found = []
        for thing in objects:
            if thing.kind != self.kind or not self._appears_so(thing, objects):
                continue
            if not self.action:
                if not thing.events:
                    found.append((thing, 0.0, duration_seconds))
                continue
            for event in thing.events:
                if event.name == self.action and self._placed_so(thing, event, objects):
                    found.append((thing, event.start_seconds, event.end_seconds))
        return found

    def _appears_so(self, thing: SceneObject, objects: Sequence[SceneObject]) -> bool:
        if self.appearance not in ("big", "small"):
            return not self.appearance or thing.tint == self.appearance
        others = [o.size for o in objects if o.kind == thing.kind and o is not thing]
        if self.appearance == "big":
            return bool(others) and thing.size >= BIGGER * max(others)
        return bool(others) and thing.size * BIGGER <= min(others)

    def _placed_so(self, thing: SceneObject, event: Event, objects: Sequence[SceneObject]) -> bool:
        if self.order:
            times = [
                e
                for o in objects
                if o.kind == self.other and o is not thing
                for e in o.events
                if e.name == self.other_action
            ]
            if len(times) != 1:
                return False
            if self.order == "after":
                return event.start_seconds >= times[0].end_seconds
            return event.end_seconds <= times[0].start_seconds
        if self.side:
            others = [o for o in objects if o.kind == self.other]
            if len(others) != 1:
                return False
            instants = np.linspace(event.start_seconds, event.end_seconds, 5)
            gap = thing.poses(instants).x - others[0].poses(instants).x
            return bool((gap <= -APART if self.side == "left" else gap >= APART).all())
        return True

    def wording(self, rng: np.random.Generator, *, plain: bool = False) -> tuple[str, str]:
        """One of the many ways to say it, and the name of the template.

        Args:
            rng: draws template and synonyms.
            plain: the easy level's wordings alone.
        """
        if not self.action:
            template = str(rng.choice(REST_WORDINGS))
            return template.format(kind=self._noun(rng)), template
        wordings = PLAIN_WORDINGS if plain else PLAIN_WORDINGS + MORE_WORDINGS
        template = wordings[int(rng.integers(len(wordings)))]
        verbs = VERBS[self.action]
        verb = verbs[0] if plain or rng.random() < 0.5 else verbs[int(rng.integers(len(verbs)))]
        if " " in verb.gerund and "{gerund} {kind}" in template:
            template = "the {kind} that is {gerund}"  # never "the getting bigger dog"
        noun = self.kind if plain else self._noun(rng)
        text = template.format(
            kind=noun, gerund=verb.gerund, third=verb.third_person, past=verb.past
        )
        if self.side:
            text += f" {rng.choice((f'to the {self.side} of', f'{self.side} of'))} the {self.other}"
        if self.order:
            text += f" {self.order} the {self.other} {VERBS[self.other_action][0].third_person}"
        return text, template

    def _noun(self, rng: np.random.Generator) -> str:
        noun = self.kind
        if rng.random() < 0.25:
            noun = OTHER_NAMES.get(noun, noun)
        return f"{self.appearance} {noun}" if self.appearance else noun
