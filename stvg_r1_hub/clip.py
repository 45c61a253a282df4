"""A tracked video that many questions can be asked about: encode, ask, parse, build the tube."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

from stvg_r1_hub.confidence import alternatives_of, confidence_of
from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import OutOfMemoryError
from stvg_r1_hub.looking import Looker, Response, Seen, is_long
from stvg_r1_hub.progress_bars import callback_of
from stvg_r1_hub.prompting import build_prompt, clean_queries
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.smaller_sample import halve_sample
from stvg_r1_hub.structures import (
    Alternative,
    Answer,
    MarkedFrames,
    Notes,
    Pixels,
    Progress,
    Prompt,
    Tracks,
    Tube,
)
from stvg_r1_hub.timings import timed
from stvg_r1_hub.tube import build_tube
from stvg_r1_hub.video import PartSource, VideoInput, VideoSource, thin_sample
from stvg_r1_hub.vlm import VLM, OnText
from stvg_r1_hub.vlm.reader import BY_NOTES, NotesReader
from stvg_r1_hub.vlm.reading.lexicon import classes_of
from stvg_r1_hub.vlm.reading.meaning import read_query

MaskMaker = Callable[[Tube, VideoSource], Tube]
"""A tube and its video in, the same tube with a mask for every box out."""

OnResult = Callable[[int, GroundingResult], None]
"""`on_result(i, result)`, called once a query, its place among all and what was found."""

NO_OBJECT = "No object was found in the video, so the language model was not asked."
NO_MARKER = "No object is visible in the frames that the language model sees, so it was not asked."
NO_TIME_ALONE = (
    "The bundled model has not learned to tell a time alone; ask it for an object, or ask a larger "
    "model."
)
OTHER_CLASS = "The tracker takes object {number} for a {found}, and the question names a {asked}."
WITHDRAWN = "The answer is withdrawn."
OWN_CLOCK = "In its own words the model counts the seconds from {start:.2f} s, the part's start."
SMALLER = (
    "Memory ran out: the language model saw {frames} frames of {width}x{height} instead of "
    "{all_frames} of {all_width}x{all_height}."
)


@dataclass(eq=False, repr=False)
class Clip:
    """A tracked video with its vision features, ready for questions; see `STVGPipeline.open`.

    Another look at the same video is a copy that sees other frames,
    `dataclasses.replace(clip, marked=closer).ask(prompts)`.
    """

    source: VideoSource
    tracks: Tracks
    """All objects considered."""
    marked: MarkedFrames
    """Exactly what the language model sees."""
    config: STVGConfig
    vlm: VLM
    make_masks: MaskMaker
    prompt_id: str
    """What `ground` asks with, one of `prompting.PROMPTS`."""
    masks: bool = False
    """Whether results have masks."""
    passes: int | str = 1
    """How often the video is looked at, one of `looking.PASSES`."""
    max_numbers: int = 99
    """The highest number that the model reads."""
    max_windows: int | None = None
    """The most windows of a long video that are asked; None asks all."""
    model_name: str = ""
    video: VideoInput = ()
    """What was opened, for results that read it again."""
    timings: dict[str, float] = field(default_factory=dict)
    """Seconds spent so far in each stage."""
    part: PartSource | None = None
    """The source, where that is a part of a video whose times results shall have; everything
    else here counts from the part's start."""
    pictures: Mapping[int, Pixels] = field(default_factory=dict)
    """A small picture of each object, by its ID."""
    _encoded: Any = field(default=None, init=False)
    _messages: list[str] = field(default_factory=list, init=False)

    def __repr__(self) -> str:
        return f"Clip({self.source.info.name!r}, {len(self.tracks)} objects)"

    @overload
    def ground(
        self, query: str, *, progress: Progress | bool = True, on_result: OnResult | None = None
    ) -> GroundingResult: ...

    @overload
    def ground(
        self,
        query: list[str] | tuple[str, ...],
        *,
        progress: Progress | bool = True,
        on_result: OnResult | None = None,
    ) -> list[GroundingResult]: ...

    def ground(
        self,
        query: str | list[str] | tuple[str, ...],
        *,
        progress: Progress | bool = True,
        on_result: OnResult | None = None,
    ) -> GroundingResult | list[GroundingResult]:
        """Ask one or several questions about this clip; see `STVGPipeline.__call__`.

        Args:
            query: as there.
            progress: as there.
            on_result: called with each result as soon as it stands, while others of its batch are
                still written; their order is not that of the queries.
        """
        with callback_of(progress) as callback:
            results = self._ground(query, callback, on_result)
        return results[0] if isinstance(query, str) else results

    def _ground(
        self,
        query: str | list[str] | tuple[str, ...],
        progress: Progress | None,
        on_result: OnResult | None,
    ) -> list[GroundingResult]:
        asked = [query] if isinstance(query, str) else query
        measured = () if self.marked.notes is None else self.marked.notes.lines
        prompts = [
            build_prompt(text, self.prompt_id, notes=measured) for text in clean_queries(query)
        ]
        reason = self._nothing_to_ask(prompts[0])
        own: dict[str, float] = {}
        results: dict[int, GroundingResult] = {}
        first: dict[int, Response] = {}

        def finish(i: int, seen: Seen) -> None:
            timings = {**self.timings, **own}
            results[i] = self._result(asked[i], prompts[i], seen, timings, reason)
            if on_result is not None:
                on_result(i, results[i])

        def take(i: int, text: str) -> None:
            if i in first:
                return  # Asked once more, because memory ran out after this one.
            first[i] = response = Response(text, self._read(prompts[i], text))
            if not self._looks_again(prompts[i], text):
                finish(i, Seen(text, response.answer, frozenset()))

        if self._is_asked_by_window(prompts[0]):
            texts = self._read_notes(prompts)
        elif reason is None:
            # One alone ends with its batch, after which all of the machine is free for it.
            on_text = take if len(prompts) > 1 else None
            texts = self.ask(prompts, timings=own, progress=progress, on_text=on_text)
        else:
            texts = [""] * len(prompts)
        for i, text in enumerate(texts):
            take(i, text)
        if again := {i: first[i] for i in range(len(prompts)) if i not in results}:
            seen = self._look_further(prompts, again, timings=own, progress=progress)
            if any(one.looks for one in seen):
                reason = None  # What one look at a long video missed, its windows may show.
            for i, one in zip(again, seen, strict=True):
                finish(i, one)
        return [results[i] for i in range(len(prompts))]

    def encode(self, *, progress: Progress | None = None) -> Any:
        """What the language model keeps of the marked frames, for any number of questions."""
        if self._encoded is None:
            with timed(self.timings, "encode"):
                if progress is not None:
                    progress("encode", 0, 1)
                self._encoded = self.vlm.encode(self.marked)
                if progress is not None:
                    progress("encode", 1, 1)
        return self._encoded

    def ask(
        self,
        prompts: Sequence[Prompt],
        *,
        timings: dict[str, float] | None = None,
        progress: Progress | None = None,
        on_text: OnText | None = None,
    ) -> list[str]:
        """The model's texts for all prompts about the marked frames, in one batch.

        A text may be a `structures.Generated`, which says how sure the model was of the object.

        When memory runs out, they are asked once more with a smaller sample, and results say so.

        Args:
            prompts: of `prompting.build_prompt`.
            timings: gets the seconds of `"answer"` added.
            progress: called with the stages `"encode"` and `"answer"`.
            on_text: called with each text as soon as it is whole, while others are still written.

        Raises:
            OutOfMemoryError: also with half the frames at half the pixels memory ran out.
        """
        try:
            encoded = self.encode(progress=progress)
            with timed({} if timings is None else timings, "answer") as pause:

                def tell(i: int, text: str) -> None:
                    if on_text is not None:
                        with pause():
                            on_text(i, text)

                limit = self.config.generation.max_new_tokens
                return self.vlm.generate(
                    prompts, encoded, max_new_tokens=limit, progress=progress, on_text=tell
                )
        except OutOfMemoryError:
            factor = self.config.sampling.size_factor
            smaller = halve_sample(self.marked, factor) if not self._messages else None
            if smaller is None:
                raise
        before, after = self.marked.frames, smaller.frames
        self._encoded, self.marked = None, smaller
        self._messages.append(
            SMALLER.format(
                frames=len(after),
                width=after.model_width,
                height=after.model_height,
                all_frames=len(before),
                all_width=before.model_width,
                all_height=before.model_height,
            )
        )
        return self.ask(prompts, timings=timings, progress=progress, on_text=on_text)

    def build_tube(
        self,
        answer: Answer,
        *,
        masks: bool = False,
        needs_objects: bool = True,
        shown_ids: frozenset[int] = frozenset(),
    ) -> Tube:
        """What an answer means in this clip; see `tube.build_tube`.

        The answer is in the video's times and IDs; `shown_ids` are those that further looks showed.
        """
        visible = self._visible_ids()
        return build_tube(
            answer,
            self.tracks,
            visible_ids=None if visible is None else visible | shown_ids,
            duration_seconds=self.source.info.duration_seconds,
            offset_seconds=0.0 if self.part is None else self.part.offset_seconds,
            masks=masks,
            needs_objects=needs_objects,
        )

    def fill_masks(self, tube: Tube, *, timings: dict[str, float] | None = None) -> Tube:
        """The tube as it is when every box has its mask, else with masks that are made now."""
        if all(box.mask for box in tube.boxes):
            return tube
        with timed({} if timings is None else timings, "segment"):
            return self.make_masks(tube, self.source)

    def _nothing_to_ask(self, prompt: Prompt) -> str | None:
        if not prompt.needs_objects:
            return None
        if not len(self.tracks):
            return NO_OBJECT
        return NO_MARKER if self._visible_ids() == frozenset() else None

    def _is_asked_by_window(self, prompt: Prompt) -> bool:
        """Whether one look at the whole video would see too little of it to be worth its price."""
        thin = is_long(self.marked.frames.sample_fps, self.config.sampling)
        return self.passes != 1 and prompt.needs_objects and bool(len(self.tracks)) and thin

    def _read_notes(self, prompts: Sequence[Prompt]) -> list[str]:
        """What the notes alone answer of prompts; empty where a model must look."""
        notes = self.marked.notes
        if notes is None or not isinstance(self.vlm, NotesReader):
            return [""] * len(prompts)
        return [self.vlm.read(prompt.query, notes) or "" for prompt in prompts]

    def _visible_ids(self) -> frozenset[int] | None:
        """IDs that can be an answer; None for all, where notes are read."""
        return None if self.config.reads_notes else self.marked.visible_ids

    def _read(self, prompt: Prompt, text: str) -> Answer:
        """The answer, with frame numbers counted in the frames that the model was really shown."""
        shown = getattr(self._encoded, "frame_times", None)
        times = self.marked.frames.times_seconds if shown is None else shown
        return prompt.parse(text, frame_times=times.tolist())

    def _looks_again(self, prompt: Prompt, text: str) -> bool:
        """Whether more looks are wanted than that whose text this is.

        What was read from the notes is exact already; a question about time alone has one look.
        """
        is_read = self.config.reads_notes and BY_NOTES in text
        return self.passes != 1 and prompt.needs_objects and not is_read and bool(len(self.tracks))

    def _look_further(
        self,
        prompts: Sequence[Prompt],
        first: Mapping[int, Response],
        *,
        timings: dict[str, float],
        progress: Progress | None,
    ) -> list[Seen]:
        """What stands about some prompts, whose first answers are given, after further looks."""

        def ask(marked: MarkedFrames, queries: Sequence[str]) -> list[Response]:
            asked = [build_prompt(q, self.prompt_id) for q in queries]
            look = replace(self, marked=marked, timings={})
            answers = look.ask(asked)
            return [
                Response(t, look._read(prompt, t)) for t, prompt in zip(answers, asked, strict=True)
            ]

        looker = Looker(
            self.source,
            self.tracks,
            self.config,
            ask,
            self._named,
            passes=self.passes,
            max_numbers=self.max_numbers,
            max_windows=self.max_windows,
            progress=progress,
        )
        with timed(timings, "look"):
            queries = [prompts[i].query for i in first]
            if self._is_asked_by_window(prompts[0]):
                return looker.look_by_window(queries)
            return looker.look_again(self.marked, queries, list(first.values()))

    def _named(self, query: str) -> frozenset[int]:
        """Objects of the classes that a query names; none where the tracker cannot tell them."""
        wanted = {name for noun in read_query(query).nouns for name in classes_of(noun)}
        if not wanted & {name.lower() for name in self.tracks.class_names}:
            return frozenset()
        return frozenset(t.object_id for t in self.tracks.tracks if t.class_name.lower() in wanted)

    def _checked_class(self, query: str, tube: Tube) -> Tube:
        """The tube with a warning where its object is of another class than the query names.

        Only for classes that the tracker can tell apart. The bundled model's answer is withdrawn
        then, since its tracker is right more often (`benchmarks/bench_kinds.py`); a large model
        sees better than a tracker does, and keeps its answer.
        """
        wanted = {name for noun in read_query(query).nouns for name in classes_of(noun)}
        known = {name.lower() for name in self.tracks.class_names}
        others = [
            track
            for i in tube.object_ids
            if (track := self.tracks.get(i)) and track.class_name.lower() not in wanted
        ]
        if not others or not wanted & known:
            return tube
        asked = " or ".join(sorted(wanted & known)[:3])
        message = OTHER_CLASS.format(
            number=others[0].object_id, found=others[0].class_name, asked=asked
        )
        if self.config.reads_notes:
            return Tube((), 0.0, 0.0, (), warnings=(*tube.warnings, f"{message} {WITHDRAWN}"))
        return replace(tube, warnings=(*tube.warnings, message))

    def _result(
        self,
        query: str,
        prompt: Prompt,
        seen: Seen,
        timings: dict[str, float],
        reason: str | None,
    ) -> GroundingResult:
        by_window = any(look.kind == "window" for look in seen.looks)
        warnings = [
            *(() if by_window else thin_sample(self.marked.frames, self.source.info)),
            *self.source.warnings,
            *self.tracks.warnings,
            *self._messages,
            *getattr(self._encoded, "warnings", ()),
            *([] if prompt.needs_objects or not self.config.reads_notes else [NO_TIME_ALONE]),
        ]
        answer: Answer | None = None
        tube: Tube | None = None
        alternatives: tuple[Alternative, ...] = ()
        if reason is not None:
            warnings.append(reason)
        else:
            answer = seen.answer
            tube = self.build_tube(
                answer,
                masks=self.masks,
                needs_objects=prompt.needs_objects,
                shown_ids=seen.shown_ids,
            )
            tube = self._checked_class(prompt.query, tube)
            warnings += [*seen.warnings, *tube.warnings]
            alternatives = alternatives_of(seen.text, tube, self.tracks, seen.others)
            has_range = tube.start_seconds < tube.end_seconds
            if not (tube.boxes if prompt.needs_objects else has_range):
                tube = None
            elif self.masks:
                tube = self.fill_masks(tube, timings=timings)
        sure = confidence_of(seen.text, tube.object_ids if tube else ())
        served = getattr(self.vlm, "model", None)
        result = GroundingResult(
            query=query,
            tube=tube,
            raw_text=seen.text,
            timings={**timings, "total": sum(timings.values())},
            warnings=tuple(dict.fromkeys(warnings)),
            model=self.model_name or (served if isinstance(served, str) else ""),
            server_input=getattr(self._encoded, "input", ""),
            info=self.source.info,
            answer=answer,
            tracks=self.tracks,
            video=self.video,
            notes=self.marked.notes.lines if self.marked.notes is not None else (),
            confidence=None if sure is None else sure * seen.trust,
            alternatives=alternatives,
            looks=seen.looks,
        )
        return result if self.part is None else _in_whole(result, self.part, self.marked.notes)


def _in_whole(result: GroundingResult, part: PartSource, notes: Notes | None) -> GroundingResult:
    """A result about a part of a video, in frames and seconds of the whole."""
    start = part.range_seconds[0]
    said = [OWN_CLOCK.format(start=start)] if start and result.raw_text else []
    return replace(
        result,
        warnings=(*result.warnings, *said),
        tube=None if result.tube is None else part.in_whole(result.tube),
        answer=None if result.answer is None else part.in_whole(result.answer),
        tracks=part.in_whole(result.tracks),
        alternatives=tuple(map(part.in_whole, result.alternatives)),
        looks=tuple(map(part.in_whole, result.looks)),
        notes=() if notes is None else part.in_whole(notes).lines,
        info=part.whole.info,
        part=part.range_seconds,
    )
