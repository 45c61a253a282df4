"""A tracked video that many questions can be asked about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from stvg_r1_hub.errors import OutOfMemoryError
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.smaller_sample import halve_sample
from stvg_r1_hub.structures import Answer, MarkedFrames, Progress, Tracks, Tube
from stvg_r1_hub.timings import timed
from stvg_r1_hub.video import thin_sample
from stvg_r1_hub.vlm.reading.lexicon import classes_of
from stvg_r1_hub.vlm.reading.meaning import read_query

if TYPE_CHECKING:
    from stvg_r1_hub.pipeline import STVGPipeline
    from stvg_r1_hub.video import VideoSource

NO_OBJECT = "No object was found in the video, so the language model was not asked."
NO_MARKER = "No object is visible in the frames that the language model sees, so it was not asked."
OTHER_CLASS = "The tracker takes object {number} for a {found}, and the question names a {asked}."
WITHDRAWN = "The answer is withdrawn."
SMALLER = (
    "Memory ran out: the language model saw {frames} frames of {width}x{height} instead of "
    "{all_frames} of {all_width}x{all_height}."
)


class Clip:
    """A tracked video with its vision features, ready for questions; see `STVGPipeline.open`.

    Attributes:
        tracks: all objects considered.
        marked: exactly what the language model sees.
        timings: seconds spent so far in each stage.
    """

    def __init__(
        self,
        pipeline: STVGPipeline,
        video: Any,
        source: VideoSource,
        tracks: Tracks,
        marked: MarkedFrames,
        timings: dict[str, float],
        *,
        masks: bool,
        markers: bool,
    ) -> None:
        """Use `STVGPipeline.open`."""
        self.tracks = tracks
        self.marked = marked
        self.timings = timings
        self._pipeline = pipeline
        self._video = video
        self._source = source
        self._masks = masks
        self._markers = markers
        self._encoded: Any = None
        self._notes: list[str] = []

    @overload
    def ground(self, query: str, *, progress: Progress | None = None) -> GroundingResult: ...

    @overload
    def ground(
        self, query: list[str] | tuple[str, ...], *, progress: Progress | None = None
    ) -> list[GroundingResult]: ...

    def ground(
        self, query: str | list[str] | tuple[str, ...], *, progress: Progress | None = None
    ) -> GroundingResult | list[GroundingResult]:
        """Ask one or several questions about this clip; see `STVGPipeline.__call__`."""
        queries = self._pipeline.check_queries(query)
        reason = self._nothing_to_ask()
        if reason is not None:
            results = [self._result(text, None, "", dict(self.timings), reason) for text in queries]
        else:
            results = self._ask_within_memory(queries, progress)
        return results[0] if isinstance(query, str) else results

    def _nothing_to_ask(self) -> str | None:
        if not self._markers:
            return None
        if not len(self.tracks):
            return NO_OBJECT
        return NO_MARKER if self._offered_ids() == frozenset() else None

    def _offered_ids(self) -> frozenset[int] | None:
        """IDs that can be an answer; None for all, where notes are read or nothing is marked."""
        if not self._markers or self._pipeline.config.reads_notes:
            return None
        return self.marked.offered_ids

    def _ask_within_memory(
        self, queries: list[str], progress: Progress | None
    ) -> list[GroundingResult]:
        """Ask; when memory runs out, ask once more with a smaller sample, and say so."""
        try:
            return self._ask(queries, progress)
        except OutOfMemoryError:
            before = self.marked.frames
            factor = self._pipeline.config.sampling.size_factor
            smaller = halve_sample(self.marked, factor) if not self._notes else None
            if smaller is None:
                raise
        self._encoded, self.marked = None, smaller
        after = smaller.frames
        self._notes.append(
            SMALLER.format(
                frames=len(after),
                width=after.model_width,
                height=after.model_height,
                all_frames=len(before),
                all_width=before.model_width,
                all_height=before.model_height,
            )
        )
        return self._ask(queries, progress)

    def _ask(self, queries: list[str], progress: Progress | None) -> list[GroundingResult]:
        if self._encoded is None:
            with timed(self.timings, "encode"):
                if progress is not None:
                    progress("encode", 0, 1)
                self._encoded = self._pipeline.encode(self.marked)
                if progress is not None:
                    progress("encode", 1, 1)
        timings = dict(self.timings)
        with timed(timings, "answer"):
            texts = self._pipeline.ask(
                queries, self._encoded, markers=self._markers, progress=progress
            )
        return [
            self._result(
                query, self._pipeline.parse(text, markers=self._markers), text, dict(timings)
            )
            for query, text in zip(queries, texts, strict=True)
        ]

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
        said = OTHER_CLASS.format(
            number=others[0].object_id, found=others[0].class_name, asked=asked
        )
        if self._pipeline.config.reads_notes:
            return Tube((), 0.0, 0.0, (), None, (*tube.warnings, f"{said} {WITHDRAWN}"))
        return replace(tube, warnings=(*tube.warnings, said))

    def _result(
        self,
        query: str,
        answer: Answer | None,
        text: str,
        timings: dict[str, float],
        reason: str | None = None,
    ) -> GroundingResult:
        warnings = [
            *thin_sample(self.marked.frames, self._source.info),
            *self._source.warnings,
            *self.tracks.warnings,
            *self._notes,
        ]
        tube: Tube | None = None
        if reason is not None:
            warnings.append(reason)
        if answer is not None:
            tube = self._pipeline.assemble(
                answer,
                self.tracks,
                offered_ids=self._offered_ids(),
                duration_seconds=self._source.info.duration_seconds,
                markers=self._markers,
            )
            tube = self._checked_class(query, tube)
            warnings += tube.warnings
            if self._masks and tube.boxes and (tube.masks is None or None in tube.masks):
                with timed(timings, "segment"):
                    tube = self._pipeline.segment(tube, self._source)
            has_answer = tube.boxes or (not self._markers and tube.start_seconds < tube.end_seconds)
            tube = tube if has_answer else None
        return GroundingResult(
            query=query,
            found=tube is not None,
            object_ids=tube.object_ids if tube else (),
            start_seconds=tube.start_seconds if tube else None,
            end_seconds=tube.end_seconds if tube else None,
            boxes=tube.boxes if tube else (),
            masks=tube.masks if tube and self._masks else None,
            reasoning=answer.reasoning if answer else "",
            raw_text=text,
            timings={**timings, "total": sum(timings.values())},
            warnings=tuple(dict.fromkeys(warnings)),
            model=self._pipeline.model_name,
            info=self._source.info,
            answer=answer,
            tracks=self.tracks,
            video=self._video,
            notes=self.marked.notes.lines if self.marked.notes is not None else (),
        )
