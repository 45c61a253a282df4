"""`STVGPipeline`: a query and a video in, a `GroundingResult` out.

The one module that knows the order of the stages:

    open_video -> read (one decode pass: track, and sample) -> mark
               -> the clip: encode -> ask -> parse -> build_tube
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from stvg_r1_hub import hub, marking
from stvg_r1_hub.by_name import Recipe
from stvg_r1_hub.clip import Clip, MaskMaker
from stvg_r1_hub.config import STVGConfig, TrackingConfig
from stvg_r1_hub.device import pick_device
from stvg_r1_hub.errors import ConfigError, ModelError
from stvg_r1_hub.hub import saving
from stvg_r1_hub.looking import check_passes, drawn_numbers
from stvg_r1_hub.notes import take_notes
from stvg_r1_hub.progress_bars import callback_of
from stvg_r1_hub.prompting import clean_queries
from stvg_r1_hub.reading import read_once, track_video
from stvg_r1_hub.result import GroundingResult
from stvg_r1_hub.segmentation import Segmenter, masks_of_tube
from stvg_r1_hub.structures import Frames, MarkedFrames, Progress, Tracks, Tube
from stvg_r1_hub.timings import timed
from stvg_r1_hub.track_selection import fit_to_sample, keep_most_visible
from stvg_r1_hub.tracking import GivenTracks, PrecomputedTracks, Tracker, WholeVideoTracks
from stvg_r1_hub.video import PartSource, VideoInput, VideoSource, opened
from stvg_r1_hub.visual.pictures import object_pictures
from stvg_r1_hub.vlm import VLM
from stvg_r1_hub.vlm.loading import Placement
from stvg_r1_hub.vlm.reader import NotesReader


class STVGPipeline:
    """Grounds queries in videos; build one with `from_pretrained`.

    Attributes:
        config: what the weights were trained with.
        tracker: finds the objects.
        vlm: answers the prompt.
        warnings: what was noticed while loading, one sentence each.
        device: where the models run, as torch names it; empty for parts put together by hand.
    """

    def __init__(
        self,
        config: STVGConfig,
        tracker: Tracker,
        vlm: VLM,
        *,
        segmenter: Segmenter | Callable[[], Segmenter] | None = None,
        bundle: hub.Bundle | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        """Put parts together by hand.

        Args:
            config: what the weights were trained with.
            tracker: finds the objects.
            vlm: answers the prompt.
            segmenter: makes the masks where the tracks have none; a function is called when a
                segmenter is first needed.
            bundle: where the weights come from; `save_pretrained` copies them.
            warnings: what was noticed so far.
        """
        self.config = config
        self.tracker = tracker
        self.vlm = vlm
        self.warnings = tuple(warnings)
        if segmenter is not None and not isinstance(segmenter, Segmenter):
            segmenter = functools.cache(segmenter)
        self._segmenter = segmenter
        self._mask_maker: MaskMaker | None = None
        self._bundle = bundle
        self.device = ""
        self._recipe: Recipe | None = None
        self._placement = Placement()
        self._as_loaded: dict[str, Any] = {}

    def __repr__(self) -> str:
        model = type(self.vlm).__name__ if self._bundle is None else self._bundle.name
        parts = {"model": model, "tracker": self.tracker.name, "device": self.device}
        known = ", ".join(f"{part}={value!r}" for part, value in parts.items() if value)
        return f"STVGPipeline({known})"

    def replace(
        self,
        *,
        config: STVGConfig | None = None,
        tracker: Tracker | None = None,
        vlm: VLM | None = None,
        mask_maker: MaskMaker | None = None,
    ) -> STVGPipeline:
        """A new pipeline with other parts, which shares everything else that is loaded.

        Args:
            config: other settings; what is loaded already does not change with them.
            tracker: finds the objects instead.
            vlm: answers the prompt instead.
            mask_maker: makes the masks instead of the segmenter: called with a tube and the open
                video, it returns the tube with a mask for every box.
        """
        other = copy.copy(self)
        other.config = self.config if config is None else config
        other.tracker = self.tracker if tracker is None else tracker
        other.vlm = self.vlm if vlm is None else vlm
        other._mask_maker = self._mask_maker if mask_maker is None else mask_maker
        return other

    @classmethod
    def from_pretrained(
        cls,
        id_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        device: str = "auto",
        device_map: str | dict[str, Any] | None = None,
        dtype: str | None = None,
        attn_implementation: str | None = None,
        quantization: str | None = None,
        tracker: str | Path | Tracker = "auto",
        classes: str | Sequence[str] | None = None,
        segmenter: str | Path | Segmenter = "auto",
        vlm: VLM | None = None,
        prompt_id: str | None = None,
    ) -> STVGPipeline:
        """Load a model with its settings.

        Args:
            id_or_path: a local folder (wins), the bundled `"tiny"`, or a Hub id.
            revision: branch, tag or commit on the Hub.
            token: Hub token; None uses the one of `hf auth login`.
            cache_dir: where downloads are kept.
            local_files_only: never use the network.
            device: `"auto"` (cuda, then mps, then cpu) or a torch device.
            device_map: spread the language model over devices, as in transformers.
            dtype: torch dtype of the language model; None takes a fitting one.
            attn_implementation: as in transformers; None is `"sdpa"`.
            quantization: `"4bit"` or `"8bit"` (bitsandbytes), `"int8"` (torchao), or None.
            tracker: one of `TRACKERS`, a detector's folder or Hub id, YOLO weights, precomputed
                tracks, or a `Tracker`; see `tracking.load_tracker`. `warnings` says the choice.
            classes: what is tracked: `"person"`, `"non-person"`, `"all"`, or names such as
                `["dog", "cat"]`; None takes the model's own setting, usually all. A tracker that
                looks for what queries name looks for these names instead.
            segmenter: makes masks where the tracks have none, loaded when first needed:
                `"auto"` (SAM 2.1), `"sam2-package"`, a folder or Hub id of a SAM 2 video model,
                or a `Segmenter`.
            vlm: used instead of the model's own language model, which is then neither fetched
                nor loaded; such as `vlm.server.ServerVLM`.
            prompt_id: another prompt of `prompting.PROMPTS` than the model was trained with,
                such as `"stvg-r1-multi"` for queries that mean several objects or none.

        Raises:
            ModelError: the model is unknown, incomplete, gated or out of reach.
            TrackerError: the tracker is.
            ConfigError: a setting that is not allowed.
        """
        access = hub.HubAccess(token, cache_dir, local_files_only, revision)
        return cls._of(
            Recipe(id_or_path, access, tracker, classes, segmenter, vlm, prompt_id),
            Placement(pick_device(device), device_map, dtype, attn_implementation, quantization),
        )

    @classmethod
    def _of(cls, recipe: Recipe, placement: Placement) -> STVGPipeline:
        parts = recipe.load(placement)
        pipeline = cls(
            parts.config,
            parts.tracker,
            parts.vlm,
            segmenter=parts.segmenter,
            bundle=parts.bundle,
            warnings=parts.warnings,
        )
        pipeline.device = placement.device
        pipeline._recipe, pipeline._placement = recipe, placement
        pipeline._as_loaded = dict(vars(pipeline))
        return pipeline

    def to(self, device: str) -> STVGPipeline:
        """Move to another device: what was loaded by name is loaded there, as suits the device.

        Parts that were given by hand stay where they are.

        Args:
            device: as in `from_pretrained`.

        Returns:
            This pipeline.

        Raises:
            ConfigError: a device that is not there, or a pipeline put together by hand.
        """
        device = pick_device(device)
        if self._recipe is None:
            raise ConfigError(
                "This pipeline was put together by hand; load its parts on the device, and put "
                "these together."
            )
        if device != self.device:
            placement = replace(self._placement, device=device, device_map=None)
            moved = self._of(self._recipe, placement)
            vars(self).update(vars(moved) | self._changed())
        return self

    def _changed(self) -> dict[str, Any]:
        """What is not as it was loaded."""
        now, before = vars(self), self._as_loaded
        return {
            name: value
            for name, value in now.items()
            if name != "_as_loaded" and not (name in before and value is before[name])
        }

    def __copy__(self) -> STVGPipeline:
        """Another that shares everything that is loaded."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Without what was loaded by name: that is read again, from this machine's cache."""
        recipe = None if self._recipe is None else self._recipe.from_cache()
        return {**self._changed(), "_recipe": recipe, "_placement": self._placement}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self)["_as_loaded"] = {}
        if state["_recipe"] is not None:
            vars(self).update(vars(self._of(state["_recipe"], state["_placement"])))
        vars(self).update(state)

    def save_pretrained(self, folder: str | Path, *, results: str | Path | None = None) -> None:
        """Write the model, its detector, its settings and a model card into a folder.

        `from_pretrained(folder)` gives the same settings and the same answers.

        Args:
            folder: a new or empty one, or a saved pipeline, which is replaced.
            results: the `--out` folder or `--json` file of `stvg eval`; the card shows its
                figures, and no others.

        Raises:
            ModelError: this pipeline was built around a language model given by hand, or the
                results cannot be read or were measured with other weights or settings.
            OutputError: the folder holds something else, or cannot be written.
        """
        bundle = self._own_bundle("save")
        # A folder that training wrote is called "model", which says nothing.
        home = Path(folder).resolve() if Path(bundle.name).is_dir() else Path(bundle.name)
        title = home.name or bundle.name
        saving.save_bundle(bundle.own_folder, self.config, title, folder, results=results)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload an STVG-R1 pipeline",
        results: str | Path | None = None,
        dry_run: bool = False,
    ) -> str:
        """Upload what `save_pretrained` writes; returns the address of the commit.

        Repository and branch are made when missing. A broken upload is repeated by the same call:
        what is there is not sent again. Weights of an earlier push go, other files stay.

        Args:
            repo_id: Hub id, `"owner/name"`.
            token: Hub token; None uses the one of `hf auth login`.
            private: whether a new repository is private; None takes the owner's default.
            revision: branch; None is `main`.
            commit_message: first line of the commit.
            results: see `save_pretrained`.
            dry_run: send nothing, and return a line a file with its bytes.

        Raises:
            ModelError: as in `save_pretrained`, or the Hub cannot be reached or refuses.
        """
        bundle = self._own_bundle("push")
        return saving.push_bundle(
            bundle.own_folder,
            self.config,
            repo_id,
            token=token,
            private=private,
            revision=revision,
            commit_message=commit_message,
            results=results,
            dry_run=dry_run,
        )

    def _own_bundle(self, what: str) -> hub.Bundle:
        if self._bundle is None:
            raise ModelError(
                f"Cannot {what} this pipeline: its language model was given by hand, so there are "
                "no files to copy; load it with from_pretrained instead."
            )
        return self._bundle

    @overload
    def __call__(
        self,
        query: str,
        video: VideoInput,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        masks: bool = False,
        markers: bool = True,
        max_objects: int | None = None,
        passes: int | str = 1,
        max_windows: int | None = None,
        progress: Progress | bool = True,
    ) -> GroundingResult: ...

    @overload
    def __call__(
        self,
        query: list[str] | tuple[str, ...],
        video: VideoInput,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        masks: bool = False,
        markers: bool = True,
        max_objects: int | None = None,
        passes: int | str = 1,
        max_windows: int | None = None,
        progress: Progress | bool = True,
    ) -> list[GroundingResult]: ...

    def __call__(
        self,
        query: str | list[str] | tuple[str, ...],
        video: VideoInput,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        masks: bool = False,
        markers: bool = True,
        max_objects: int | None = None,
        passes: int | str = 1,
        max_windows: int | None = None,
        progress: Progress | bool = True,
    ) -> GroundingResult | list[GroundingResult]:
        """Find where and when in the video is what the query describes.

        Args:
            query: one description, or several: they are then asked in one batch.
            video: a path, bytes, a binary file, frames as an array, a torch tensor or a list, or
                a `VideoSource`; see `video.open_video`.
            fps: frames per second of an array, a list or a folder of pictures; None for the rest.
            start: seconds; what comes before is neither decoded nor tracked, and the model sees a
                video that begins here. Results keep the times of the whole video.
            end: seconds; the same for what comes after.
            masks: also return masks, those of the tracks or of the segmenter, which is given the
                boxes of the answered objects alone.
            markers: draw the numbers and ask for an object. False asks for the time alone:
                nothing is tracked, and the result has a time range but no boxes.
            max_objects: consider only so many objects, the most visible ones.
            passes: 1 looks once, as the paper does; 2 takes every further look that applies, and
                `"auto"` those that are known to pay: at long videos by window and, by the bundled
                model, at the candidates where there are more objects than it can number.
            max_windows: the most windows of a long video that are asked, with passes other than
                1; None asks all.
            progress: True shows bars where a person looks on, in a terminal or a notebook; False
                never does; a function is called as `progress(stage, done, total)` with the stages
                `"decode/track"`, `"encode"`, `"answer"` and `"look"`; raise `errors.Cancelled` in
                it to stop.

        Returns:
            One result a query, in their order.

        Raises:
            QueryError: a query without usable text.
            VideoError: the video cannot be used, or fewer than two frames lie between `start` and
                `end`.
            TrackerError: tracks that do not fit the video.
            ModelError: `masks=True` with neither masks in the tracks nor a segmenter.
            OutOfMemoryError: also with half the frames at half the pixels memory ran out.
        """
        clean_queries(query)  # Before the video: it may take long.
        with self.open(
            video,
            query=query,
            fps=fps,
            start=start,
            end=end,
            masks=masks,
            markers=markers,
            max_objects=max_objects,
            passes=passes,
            max_windows=max_windows,
            progress=progress,
        ) as clip:
            return clip.ground(query, progress=progress)

    @contextmanager
    def open(
        self,
        video: VideoInput,
        *,
        query: str | Sequence[str] | None = None,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        masks: bool = False,
        markers: bool = True,
        max_objects: int | None = None,
        passes: int | str = 1,
        max_windows: int | None = None,
        progress: Progress | bool = True,
    ) -> Iterator[Clip]:
        """Track a video once and keep it for many questions.

        The arguments are those of `__call__`, but for `query`: all that will be asked, one text or
        several, for trackers that look for what is named; others ignore it.

        Yields:
            A `Clip`; ask it with `clip.ground(query)`.
        """
        _check(masks, markers, max_objects, passes, max_windows)
        started = time.perf_counter()
        with opened(video, fps=fps) as whole:
            part = None if start is None and end is None else PartSource(whole, start, end)
            source = part or whole
            timings = {"open": time.perf_counter() - started}
            with callback_of(progress) as callback:
                frames, tracks = read_once(
                    source,
                    self.config.sampling,
                    self._tracker_of(part) if markers else None,
                    query=query,
                    progress=callback,
                    timings=timings,
                )
            limit = self._max_numbers(tracks)
            tracks, shown, numbers = self._shown(tracks, passes, max_objects)
            if masks and self._mask_maker is None and any(t.masks is None for t in tracks.tracks):
                self.segmenter()  # Before the questions: it may be missing.
            if markers:
                with timed(timings, "notes"):
                    notes = take_notes(
                        frames, tracks, duration_seconds=source.info.duration_seconds
                    )
            with timed(timings, "mark"):
                pictures = object_pictures(frames, tracks)  # Before anything is drawn on them.
                fitted, style = fit_to_sample(shown, frames), self.config.marker
                marked = marking.mark_frames(frames, fitted, style, numbers=numbers, in_place=True)
            del frames  # They are marked now.
            if markers:
                marked = replace(marked, notes=notes)
            yield Clip(
                source,
                tracks,
                marked,
                config=self.config,
                vlm=self.vlm,
                make_masks=self._mask_maker or self._segment,
                prompt_id=self.config.prompt_id if markers else self.config.time_prompt_id,
                masks=masks,
                passes=passes,
                max_numbers=limit,
                max_windows=max_windows,
                model_name="" if self._bundle is None else self._bundle.name,
                video=video if fps is None else whole,
                timings=timings,
                part=part,
                pictures=pictures,
            )

    def _tracker_of(self, part: PartSource | None) -> Tracker:
        """The tracker; tracks that are given belong to the whole video."""
        if part is None or not isinstance(self.tracker, GivenTracks | PrecomputedTracks):
            return self.tracker
        return WholeVideoTracks(self.tracker, part.whole.info, part.first_frame)

    def _shown(
        self, tracks: Tracks, passes: int | str, max_objects: int | None
    ) -> tuple[Tracks, Tracks, dict[int, int]]:
        """The objects that can be an answer, those of them in the first look, and their numbers."""
        if passes == 1:
            tracks = self._considered(tracks, max_objects)
            return tracks, tracks, {}
        # Every look shows other objects, so all are kept, with the tracker's numbers.
        limit = self._max_numbers(tracks)
        tracks = keep_most_visible(tracks, max_objects or len(tracks), renumber=False)
        shown = keep_most_visible(tracks, limit, renumber=False)
        return tracks, shown, drawn_numbers(shown.object_ids, limit)

    def _considered(self, tracks: Tracks, max_objects: int | None = None) -> Tracks:
        """No more objects than the model can tell apart, and than are asked for."""
        limit = self._max_numbers(tracks)
        given = isinstance(self.tracker, PrecomputedTracks)
        return keep_most_visible(tracks, min(limit, max_objects or limit), renumber=not given)

    def _max_numbers(self, tracks: Tracks) -> int:
        """The most objects that the model can tell apart, which is its highest number too."""
        reads = isinstance(self.vlm, NotesReader) and not self.vlm.knows(tracks.class_names)
        return (TrackingConfig if reads else self.config.tracking).max_objects

    def read(
        self,
        source: VideoSource,
        *,
        query: str | Sequence[str] | None = None,
        progress: Progress | None = None,
        timings: dict[str, float] | None = None,
    ) -> tuple[Frames, Tracks]:
        """Decode the video once: the tracker gets its frames, the sample is kept on the way.

        Args:
            source: an open video.
            query: a hint for trackers that look for what is asked.
            progress: called with the stage `"decode/track"`.
            timings: gets the seconds of `"decode"` and `"track"` added.

        Returns:
            The sample for the language model, and the objects, at most `max_objects` of the
            settings.
        """
        frames, tracks = read_once(
            source,
            self.config.sampling,
            self.tracker,
            query=query,
            progress=progress,
            timings=timings,
        )
        return frames, self._considered(tracks)

    def track(
        self,
        video: VideoInput,
        *,
        query: str | Sequence[str] | None = None,
        progress: Progress | bool = True,
    ) -> Tracks:
        """Find the objects of a video without asking the language model."""
        with callback_of(progress) as callback:
            tracks = track_video(video, self.tracker, query=query, progress=callback)
        return self._considered(tracks)

    def mark(self, frames: Frames, tracks: Tracks) -> MarkedFrames:
        """Draw every object's number, in the style the weights were trained with."""
        return marking.mark_frames(frames, fit_to_sample(tracks, frames), self.config.marker)

    def segmenter(self) -> Segmenter:
        """What makes masks of boxes, loaded now if it was not needed before.

        Raises:
            ModelError: it cannot be loaded, or there is none.
        """
        if self._segmenter is None:
            raise ModelError(
                "Masks were asked for, but the tracks carry boxes only and there is no segmenter; "
                "give this pipeline one, or leave masks=False."
            )
        return self._segmenter if isinstance(self._segmenter, Segmenter) else self._segmenter()

    def _segment(self, tube: Tube, source: VideoSource) -> Tube:
        """Only the frames with a box are decoded."""
        stream, info = source.stream(tube.frame_indices), source.info
        return masks_of_tube(tube, stream, self.segmenter(), info.height, info.width)


def _check(
    masks: bool, markers: bool, max_objects: int | None, passes: int | str, max_windows: int | None
) -> None:
    for name, most in (("max_objects", max_objects), ("max_windows", max_windows)):
        if most is not None and most < 1:
            raise ConfigError(f"{name} must be at least 1 or None, got {most}.")
    check_passes(passes)
    if masks and not markers:
        raise ConfigError(
            "Got masks=True and markers=False, but a question about time alone has no "
            "object; leave one of them at its default."
        )
