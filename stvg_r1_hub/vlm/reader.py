"""Answers from the track notes what boxes can say, and leaves to a model what only sight can.

The same interface as any language model: prompts and a clip in, text in the answer grammar out. A
query whose words are all understood is held against the notes. Actions that change no box for good,
such as jumping or spinning, are asked of the small vision-language model where the objects are
those that it was trained on; elsewhere, and for any word that is not known, the answer is none, and
the text says which word it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from stvg_r1_hub.structures import Generated, MarkedFrames, Notes, Progress, Prompt
from stvg_r1_hub.vlm import VLM, OnText
from stvg_r1_hub.vlm.reading.lexicon import actions_and_unknown, tag, words_of
from stvg_r1_hub.vlm.reading.matching import find
from stvg_r1_hub.vlm.reading.meaning import Meaning, read_query
from stvg_r1_hub.vlm.reading.moments import Moment, NothingFits

BY_NOTES = "Read from the track notes."
BY_SIGHT = "Seen by the small vision-language model."
RIGHT_OBJECT = 0.76
"""Share of the questions about a real street in which the object read from the notes is right.

Measured with the tracker in the loop by `benchmarks/bench_real.py`: what it missed nobody can read.
"""
_MOST_OTHERS = 5
ASKED = " (asked)"
"""Stands in the small model's reasoning behind the kind and the action that the query is about."""


@dataclass
class _Clip:
    """A clip, and what the vision-language model keeps of it once it was asked."""

    video: MarkedFrames
    features: Any = None


class NotesReader:
    """Reads the notes of any footage; asks a vision-language model about its own world's actions.

    Attributes:
        warnings: none; what other models say while loading.
    """

    warnings: tuple[str, ...] = ()

    def __init__(
        self, sight: Callable[[], VLM] | None, *, seen_classes: Sequence[str] = ()
    ) -> None:
        """Put the two together.

        Args:
            sight: called when the vision-language model is first needed; None where there is none.
            seen_classes: what that model was trained on.
        """
        self._sight = sight
        self._seen_classes = frozenset(seen_classes)
        self._model: VLM | None = None

    @property
    def sight(self) -> VLM:
        """The vision-language model, loaded on first use."""
        if self._model is None:
            assert self._sight is not None
            self._model = self._sight()
        return self._model

    def knows(self, class_names: Sequence[str]) -> bool:
        """Whether the vision-language model was trained on footage of such objects."""
        known = bool(class_names) and set(class_names) <= self._seen_classes
        return self._sight is not None and known

    def encode(self, video: MarkedFrames) -> _Clip:
        """Nothing is computed before it is needed."""
        return _Clip(video)

    def generate(
        self,
        prompts: Sequence[str],
        video: _Clip,
        *,
        max_new_tokens: int,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """One text a prompt; those for the vision-language model are asked in one batch."""
        notes = video.video.notes
        # Without notes, nothing was tracked: a question about time alone, which is one of sight.
        texts: dict[int, str] = {}

        def keep(i: int, text: str) -> None:
            texts[i] = text
            if on_text is not None:
                on_text(i, text)

        for i, prompt in enumerate(prompts):
            text = None if notes is None else self.read(_query_of(prompt), notes)
            if text is not None:
                keep(i, text)
        if seen := [i for i in range(len(prompts)) if i not in texts]:
            if video.features is None:
                video.features = self.sight.encode(video.video)
            self.sight.generate(
                [prompts[i] for i in seen],
                video.features,
                max_new_tokens=max_new_tokens,
                progress=progress,
                on_text=lambda n, answer: keep(seen[n], _by_sight(answer)),
            )
        if progress is not None:
            progress("answer", len(prompts), len(prompts))
        return [texts[i] for i in range(len(prompts))]

    def read(self, query: str, notes: Notes) -> str | None:
        """The answer from the notes, or None for a question of sight."""
        meaning = read_query(query)
        actions, strangers = actions_and_unknown(words_of(query))
        is_action = actions or "leaves" in meaning.motion
        is_directed = bool({"left", "right"} & set(meaning.motion))
        is_whole = meaning.during is None
        is_seen = is_action and is_whole and not strangers and not is_directed
        if self.knows(notes.class_names) and is_seen:
            return None
        understood = f"{BY_NOTES} Understood: {', '.join(meaning.words()) or 'any object'}."
        if not meaning.is_english:
            return _none(BY_NOTES, "The reader knows English only; ask in English.")
        if meaning.unknown:
            return _unknown_words(meaning, understood, notes)
        try:
            moments = find(meaning, notes)
        except NothingFits as reason:
            limits = notes.limits if meaning.colours or meaning.motion else ()
            return _none(understood, " ".join([str(reason), *limits]))
        return _found(moments, understood, notes)


def _query_of(prompt: str) -> str:
    return prompt.query if isinstance(prompt, Prompt) else prompt


def _unknown_words(meaning: Meaning, understood: str, notes: Notes) -> str:
    words = ", ".join(f'"{word}"' for word in meaning.unknown[:6])
    names = ", ".join(sorted({o.class_name for o in notes.objects})[:12])
    kinds = {w: {t.kind for t in tag(words_of(w))} for w in meaning.unknown}
    others = [word for word, found in kinds.items() if "nouns" in found]
    several = [word for word, found in kinds.items() if "several" in found]
    seconds = [word for word in meaning.unknown if word.isdecimal() or "second" in word]
    plural = "These words are" if len(meaning.unknown) > 1 else "This word is"
    reason = f"{plural} not understood: {words}."
    if others:
        reason = f'"{others[0]}" is a second object here, and one is asked about at a time.'
    elif seconds:
        reason += " A stretch of the video is chosen by its start and end, not in words."
    elif several:
        reason = (
            f'"{several[0]}" asks for several objects, and one is answered at a time; say which '
            'one, such as "the second from the left".'
        )
    elif not meaning.words():
        reason += " The reader knows everyday objects, colours, places and motion, in English."
        reason += f" In this video there is: {names}." if names else ""
    else:
        reason += " What boxes, colours and motion cannot tell is not answered here."
    return _none(f"{understood} Not understood: {words}.", reason)


def _none(thoughts: str, reason: str) -> str:
    return f"<think>{thoughts}</think><answer>Target ID: none</answer>\n{reason}"


def _found(moments: list[Moment], understood: str, notes: Notes) -> str:
    best, *rest = moments
    thoughts = f"{understood} Object {best.note.line}."
    # The other objects are the answer's alternatives, each with its times.
    answered = best.note.object_id
    others = {moment.note.object_id for moment in rest} - {answered}
    also = [f"{len(others)} other object{'s fit' if len(others) > 1 else ' fits'} too"]
    also *= bool(others)
    also += [
        f"Object {answered} also fits from {m.start_seconds:.2f} to {m.end_seconds:.2f} s"
        for m in rest
        if m.note.object_id == answered
    ][:_MOST_OTHERS]
    remark = f"\n{'; '.join(also)}; the longest is answered." if rest else ""
    text = (
        f"<think>{thoughts}</think><answer>Target ID: {answered}, Time range: "
        f"{best.start_seconds:.2f} to {best.end_seconds:.2f}</answer>{remark}"
    )
    return _with_shares(text, moments)


def _with_shares(text: str, moments: list[Moment]) -> Generated:
    """The text with the objects that fit, as sure as their shares of the time in which one fits."""
    longest: dict[int, Moment] = {}
    for moment in moments:
        longest.setdefault(moment.note.object_id, moment)
    total = sum(moment.seconds for moment in longest.values())
    return Generated(
        text,
        {i: RIGHT_OBJECT * moment.seconds / total for i, moment in longest.items()},
        {i: (moment.start_seconds, moment.end_seconds) for i, moment in longest.items()},
    )


def holds(text: str) -> bool:
    """Whether the small model's answer follows from its reasoning.

    That first says what is asked for, `dog (asked) jumps (asked).`, then what each object does, and
    marks what is asked. Where nothing does it, the model is apt to mark another action.
    """
    asked, *listed = re.split(r"\.(?= |$)", _reasoning(text))
    actions = re.findall(rf" (\w+){re.escape(ASKED)}", asked)
    number = re.search(r"<answer>Target ID: (\d+)", text)
    if number is None or len(actions) < 2:
        return True
    lines = (line for line in listed if line.startswith(f" {number[1]} "))
    return any(f" {actions[-1]}{ASKED}" in line for line in lines)


def _taken_back(text: str) -> str:
    return (
        f"<think>{_reasoning(text)}</think><answer>Target ID: none</answer>\n"
        "The model named an object that by its own reasoning does something else."
    )


def _reasoning(text: str) -> str:
    return text.partition("<think>")[2].partition("</think>")[0]


def _by_sight(text: str) -> str:
    """The small model's text where it holds, with who wrote it at the start of its reasoning."""
    text = text if holds(text) else _taken_back(text)
    head, tag, rest = text.partition("<think>")
    signed = f"{head}{tag}{BY_SIGHT} {rest}" if tag else f"<think>{BY_SIGHT}</think>{text}"
    if isinstance(text, Generated):
        return Generated(signed, text.id_probabilities, text.id_ranges)
    return signed
