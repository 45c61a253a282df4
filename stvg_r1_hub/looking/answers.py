"""What looks say, in the video's own times and IDs, and what of it belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stvg_r1_hub.confidence import confidence_of
from stvg_r1_hub.looking.views import View
from stvg_r1_hub.structures import SAYS_NOTHING, Alternative, Answer, Look, Range


@dataclass(frozen=True)
class Response:
    """A model's text about what it was shown, and how it reads there."""

    text: str
    answer: Answer

    @property
    def names_object(self) -> bool:
        """Whether it is a usable answer."""
        return self.answer.is_valid and bool(self.answer.object_ids)

    @property
    def confidence(self) -> float | None:
        """How sure the model was of the object, 0..1; None where it does not say."""
        return confidence_of(self.text, self.answer.object_ids)

    def in_video(self, view: View) -> Response:
        """The same with the video's own times and IDs."""
        return Response(view.text_in_video(self.text), view.in_video(self.answer))


@dataclass(frozen=True)
class Seen:
    """What stands about a query after all looks."""

    text: str
    answer: Answer
    shown_ids: frozenset[int]
    """Objects whose number could be seen in any look."""
    looks: tuple[Look, ...] = ()
    """All looks in their order; empty where there was one alone."""
    warnings: tuple[str, ...] = ()
    trust: float = 1.0
    """What the looks leave of the model's confidence: less than 1 where they disagree."""
    others: tuple[Alternative, ...] = ()
    """Moments that other windows of a long video found, best first; none of a model that does not
    say how sure it is."""


def range_of(response: Response) -> Range:
    """The answered time range; an empty one where there is none."""
    return response.answer.start_seconds or 0.0, response.answer.end_seconds or 0.0


def objects_of(response: Response) -> str:
    """The answered objects, for a sentence."""
    ids = ", ".join(map(str, response.answer.object_ids))
    problem = response.answer.problem or ""
    if ids and not problem:
        return f"object {ids}"
    return "nothing" if problem.startswith(SAYS_NOTHING) else "no object"


def sureness_of(response: Response) -> float:
    """How sure the model was, 0..1; of one that does not say, all answers are as good."""
    return 1.0 if response.confidence is None else response.confidence


def joined(found: Sequence[Response]) -> list[Response]:
    """Answers of windows, those about the same object in ranges that overlap as one."""
    wholes: list[Response] = []
    for response in found:
        start, end = range_of(response)
        for k, other in enumerate(wholes):
            same = other.answer.object_ids == response.answer.object_ids
            if same and range_of(other)[0] <= end and start <= range_of(other)[1]:
                answer = replace(
                    other.answer,
                    start_seconds=min(start, range_of(other)[0]),
                    end_seconds=max(end, range_of(other)[1]),
                    ranges=(),
                )
                wholes[k] = replace(max(other, response, key=sureness_of), answer=answer)
                break
        else:
            wholes.append(response)
    return wholes
