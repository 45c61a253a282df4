"""How a result is put on the widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from stvg_r1_hub.web import markup
from stvg_r1_hub.web.answers import TRACKS, Answered, Seen
from stvg_r1_hub.web.layout import ANSWER, SEEN, Layout
from stvg_r1_hub.web.next_step import NextStep, next_step

Shown = dict[Any, Any]
"""Updates of some widgets, and new values of states."""


class Display(Layout):
    """A page that can show what was found; when it does is said elsewhere."""

    @property
    def _running(self) -> list[Any]:
        return [self.status, self.find, self.track, self.stop]

    @property
    def _one(self) -> list[Any]:
        """What shows one answer."""
        return [
            self.card,
            self.view,
            self.shown,
            self.timeline,
            self.keyframes,
            self.why,
            self.reasoning,
            self.boxes,
            self.table,
            self.get_video,
            self.get_json,
            self.get_masks,
            self.get_sample,
            self.again,
            self.style,
        ]

    @property
    def _whole(self) -> list[Any]:
        """What shows all that was found in a video."""
        found = [self.panel, self.visit, self.seen, self.answers, self.picker]
        return [*found, self.shared, self.objects, *self._one]

    def _idle(self, status: str) -> Shown:
        return {
            self.status: new_value(status),
            self.find: gr.Button(interactive=True),
            self.track: gr.Button(interactive=True),
            self.stop: gr.Button(visible=False),
        }

    def _objects_shown(self, seen: Seen, answers: list[Answered], queries: list[str]) -> Shown:
        """The panel with the objects, and no answer yet."""
        return {
            self.panel: gr.Column(visible=True),
            self.seen: seen,
            self.answers: answers,
            self.picker: gr.Radio(choices=[], value=None, visible=False),
            self.view: gr.Radio(value=SEEN, visible=False),
            self.style: gr.update(value=[], visible=False),
            self.shared: new_value(seen.remarks),
            self.objects: new_value(seen.objects),
            self.card: new_value(markup.waiting_card(queries[0]) if queries else ""),
            self.shown: new_value(str(seen.marked)),
            self.timeline: new_value(seen.timeline),
            **{widget: new_value("") for widget in (self.keyframes, self.reasoning)},
            self.table: new_value([]),
            **{fold: gr.update(visible=False) for fold in (self.why, self.boxes)},
            self.get_video: _download(seen.marked),
            self.get_json: _download(seen.folder / TRACKS),
            self.get_masks: _download(None),
            self.get_sample: _download(None),
            self.again: gr.Button(visible=False),
        }

    def _answer_shown(self, answers: list[Answered], new: Answered) -> Shown:
        """One more to choose from; the first that comes is shown."""
        if len(answers) == 1:
            return self._looked_at(answers, new)
        return {self.answers: answers, self.picker: picker(answers)}

    def _looked_at(self, answers: list[Answered], one: Answered) -> Shown:
        """The answers to choose from, one of them chosen."""
        return {
            self.answers: answers,
            self.picker: picker(answers, one.number),
            **self._values(one),
        }

    def _pick(self, answers: list[Answered], picked: int | None, view: str) -> Shown:
        answer = chosen(answers, picked)
        return {self.card: gr.skip()} if answer is None else self._values(answer, view)

    def _show_video(
        self, seen: Seen | None, answers: list[Answered], picked: int | None, view: str
    ) -> Any:
        answer = chosen(answers, picked)
        if seen is None:
            return gr.skip()
        overlay = None if answer is None or view == SEEN else answer.overlay
        return new_value(str(overlay or seen.marked))

    def _prepare_again(
        self, answers: list[Answered], picked: int | None, text: str, tracker: str
    ) -> tuple[str, str]:
        """What the button below an answer that was not found asks instead."""
        answer = chosen(answers, picked)
        step = None if answer is None else self._next_step(answer)
        return (text, tracker) if step is None else (step.text or text, step.tracker or tracker)

    def _next_step(self, answer: Answered) -> NextStep | None:
        if answer.values["found"]:
            return None
        return next_step(
            str(answer.values["query"]), str(answer.values["tracker"]), self.trackers_here
        )

    def _values(self, answer: Answered, view: str = ANSWER) -> Shown:
        """One answer on all widgets."""
        step = self._next_step(answer)
        overlay = None if view == SEEN else answer.overlay
        return {
            self.card: new_value(answer.card),
            self.view: gr.Radio(value=view, visible=answer.overlay is not None),
            self.shown: new_value(str(overlay or answer.marked)),
            self.timeline: new_value(answer.timeline),
            self.keyframes: new_value(answer.keyframes),
            self.reasoning: new_value(answer.reasoning),
            self.table: new_value(answer.rows),
            self.why: gr.update(visible=True),
            self.boxes: gr.update(visible=bool(answer.rows)),
            self.style: gr.update(value=[], visible=answer.overlay is not None),
            self.get_video: _download(answer.overlay),
            self.get_json: _download(answer.json),
            self.get_masks: _download(answer.masks),
            self.get_sample: _download(answer.sample),
            self.again: gr.Button(step.label if step else "", visible=step is not None),
        }


def new_value(value: Any) -> Any:
    """A widget's value as an update, as which every value goes to a widget that some events skip.

    A bare value after a skip makes gradio 6.31 keep one more widget, with its value, for as long
    as it remembers the visit; an update takes the last one's place.
    """
    return gr.update(value=value)


def chosen(answers: list[Answered], picked: int | None) -> Answered | None:
    """The answer that is looked at, the first where none is picked."""
    return next((a for a in answers if a.number == picked), answers[0] if answers else None)


def picker(answers: list[Answered], picked: int | None = None) -> gr.Radio:
    """The answers to choose from; without a choice, what the visitor looks at stays."""
    choices = [(f"{answer.number}. {answer.summary}", answer.number) for answer in answers]
    more: dict[str, Any] = {} if picked is None else {"value": picked}
    return gr.Radio(choices=choices, visible=len(choices) > 1, **more)


def _download(path: Path | None) -> gr.DownloadButton:
    """The button of a file that not every answer has."""
    return gr.DownloadButton(value=None if path is None else str(path), visible=path is not None)
