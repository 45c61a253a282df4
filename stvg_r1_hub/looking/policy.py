"""The policy of looks: first answers in, what stands after further looks out.

* A long video is asked window by window, and the moment that the model is surest of stands.
* In a crowd, the objects of the kind that the query names keep their numbers alone. Where they are
  small, they are shown side by side and enlarged. Where the model cannot read that many numbers,
  groups are asked and their winners meet.
* A moment that was found is looked at again, closer in time.

Which of them `"auto"` takes was measured; see docs/looking.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.geometry import frames_in_range
from stvg_r1_hub.looking import close_ups, stretches
from stvg_r1_hub.looking.answers import (
    Response,
    Seen,
    joined,
    objects_of,
    range_of,
    sureness_of,
)
from stvg_r1_hub.looking.views import Presence, Stretch, View, read_stretch, view_of
from stvg_r1_hub.structures import (
    SAYS_NOTHING,
    Alternative,
    Answer,
    Look,
    MarkedFrames,
    Progress,
    Tracks,
)
from stvg_r1_hub.video import VideoSource

PASSES = (1, 2, "auto")
Passes = int | str
DISAGREED = 0.5
"""What is left of a confidence when two looks disagree."""
IN_VIEW = 0.4
"""Least share of a moment in which its object is seen."""

NOTHING = Response(
    "", Answer((), None, None, problem=f"{SAYS_NOTHING} that none of the windows asked shows it")
)
"""What stands about a long video until a window shows it."""


def check_passes(passes: Passes) -> None:
    """Refuse what is none of `PASSES`.

    Raises:
        ConfigError: with what was got and what is allowed.
    """
    if isinstance(passes, bool) or passes not in PASSES:
        raise ConfigError(f"Got passes={passes!r}; it must be 1, 2 or 'auto'.")


@dataclass
class _Asked:
    """A query on its way through the looks."""

    query: str
    best: Response
    shown: frozenset[int]
    looks: list[Look]
    warnings: list[str]
    trust: float = 1.0
    others: tuple[Alternative, ...] = ()

    def seen(self) -> Seen:
        looks = () if [look.kind for look in self.looks] == ["whole"] else tuple(self.looks)
        best, warnings = self.best, tuple(self.warnings)
        return Seen(best.text, best.answer, self.shown, looks, warnings, self.trust, self.others)

    def doubt(self, warning: str) -> None:
        """Two looks disagree."""
        self.warnings.append(warning)
        self.trust = DISAGREED


Ask = Callable[[MarkedFrames, Sequence[str]], list[Response]]
"""Marked frames and queries in, an answer a query out, in the frames' own clock and numbers."""


class Looker:
    """Looks at one tracked video as often as its questions need."""

    def __init__(
        self,
        source: VideoSource,
        tracks: Tracks,
        config: STVGConfig,
        ask: Ask,
        named: Callable[[str], frozenset[int]],
        *,
        passes: Passes,
        max_numbers: int,
        max_windows: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Prepare to look.

        Args:
            source: the open video.
            tracks: all its objects.
            config: how the model sees frames and numbers.
            ask: asks the model.
            named: IDs of the objects whose class a query names; empty where the tracker cannot
                tell.
            passes: 2 takes every look that applies, `"auto"` those that are known to pay.
            max_numbers: the highest number that the model reads.
            max_windows: the most windows of a long video that are asked; None asks all.
            progress: called with the stage `"look"`.
        """
        self._source, self._tracks, self._config = source, tracks, config
        self._ask, self._named = ask, named
        self._always = passes == 2
        self._limit, self._max_windows = max_numbers, max_windows
        self._progress = progress
        self._told = (0, 1)
        self._presence = Presence(tracks)
        self._duration = source.info.duration_seconds

    def look_again(
        self, marked: MarkedFrames, queries: Sequence[str], first: Sequence[Response]
    ) -> list[Seen]:
        """Further looks about some queries, at a video that one look can see.

        Args:
            marked: what that first look showed.
            queries: what was asked.
            first: what was answered.
        """
        whole = View(Stretch(marked.frames, 0.0, self._duration), marked)
        asked = []
        for query, response in zip(queries, first, strict=True):
            response = response.in_video(whole)
            one = _Asked(query, response, frozenset(), [], [])
            self._note(one, "whole", whole, response, "the first answer")
            asked.append(one)
        for done, one in enumerate(asked):
            self._tell(done, len(asked))
            self._look_at_candidates(one)
            self._look_closer(one, marked)
        return [one.seen() for one in asked]

    def look_by_window(self, queries: Sequence[str]) -> list[Seen]:
        """Ask every window of a long video, then choose among the moments that were found."""
        asked = [_Asked(query, NOTHING, frozenset(), [], []) for query in queries]
        named = {one.query: self._named(one.query) for one in asked}
        parts = self._windows_worth_asking(named)
        found: dict[str, list[Response]] = {one.query: [] for one in asked}
        for done, (start, end) in enumerate(parts):
            self._tell(done, len(parts))
            stretch = read_stretch(self._source, self._config.sampling, start, end)
            if stretch is None:
                continue
            for ids in _groups(self._presence.ranked(start, end), self._limit):
                wanted = [o for o in asked if not named[o.query] or named[o.query] & set(ids)]
                if not wanted:
                    continue
                view = self._view(stretch, ids)
                queries = [one.query for one in wanted]
                for one, response in zip(wanted, self._asked_in(view, queries), strict=True):
                    meant = set(ids) & (named[one.query] or set(ids))
                    fits = response.names_object and set(response.answer.object_ids) <= meant
                    self._note(
                        one, "window", view, response, "a moment" if fits else "nothing here"
                    )
                    if fits:
                        found[one.query].append(response)
        for one in asked:
            self._choose_moment(one, joined(found[one.query]))
        return [one.seen() for one in asked]

    def _windows_worth_asking(
        self, named: dict[str, frozenset[int]]
    ) -> list[tuple[float, float]]:  # fmt: skip
        """Those with an object that may be meant; within the budget, those that show most of it."""
        anything = any(not ids for ids in named.values())
        meant = frozenset().union(*named.values())
        worth = {}
        length, starts = self._config.sampling.window_seconds, self._presence.scene_starts()
        for part in stretches.windows(self._duration, length, starts):
            ranked = self._presence.ranked(*part)
            worth[part] = len(ranked) if anything else len(meant & set(ranked))
        parts = sorted((p for p in worth if worth[p]), key=lambda p: -worth[p])
        return sorted(parts[: self._max_windows])

    def _choose_moment(self, one: _Asked, moments: list[Response]) -> None:
        """Of the moments that the windows found, the one that the model is surest of stands.

        A moment counts by the share of it in which its object is in view: who answers across a cut
        or beyond where the object leaves has mistaken it.
        """
        ranked = [(moment, self._in_view(moment)) for moment in moments]
        ranked = [(moment, share) for moment, share in ranked if share >= IN_VIEW]
        ranked.sort(key=lambda ranked: -sureness_of(ranked[0]) * ranked[1])
        if not ranked:
            return
        (one.best, _), *others = ranked
        one.others = tuple(
            Alternative(i, *range_of(moment), moment.confidence * share)
            for moment, share in others
            for i in moment.answer.object_ids
            if moment.confidence is not None
        )
        if others:
            one.warnings.append(
                f"{len(ranked)} moments of this long video may be meant; the one that the model "
                "is surest of is answered."
            )

    def _in_view(self, response: Response) -> float:
        """Share of the answered range in which the answered objects are seen, 0..1."""
        frames = frames_in_range(self._tracks.frame_times, *range_of(response))
        tracks = [self._tracks.get(i) for i in response.answer.object_ids]
        shares = [
            float(np.diff(t.frame_indices.searchsorted([frames.start, frames.stop]))[0])
            for t in tracks
            if t is not None
        ]
        return sum(shares) / max(len(frames) * len(tracks), 1)

    def _look_at_candidates(self, one: _Asked) -> None:
        """Only objects that may be meant keep their numbers; in groups, where they are many."""
        ranked = self._presence.ranked(0.0, self._duration)
        if not (self._always or (self._config.reads_notes and len(ranked) > self._limit)):
            return
        named = self._named(one.query)
        candidates = [i for i in ranked if not named or i in named]
        if not candidates or (len(candidates) == len(ranked) and len(ranked) <= self._limit):
            return
        # The first look's frames have its numbers on them.
        whole = read_stretch(self._source, self._config.sampling, 0.0, self._duration)
        if whole is None:
            return
        winner = self._tournament(one, whole, candidates)
        if winner is not None:
            one.best, place = winner
            one.looks[place] = replace(
                one.looks[place], kind="candidates", outcome="this object stands"
            )

    def _tournament(
        self, one: _Asked, whole: Stretch, candidates: list[int]
    ) -> tuple[Response, int] | None:
        """Groups of as many as the model can read are asked, and the winners meet.

        Small objects are shown side by side and enlarged.

        Returns:
            The last winner, and the place of its look; None where no group has one.
        """
        small = close_ups.are_small(self._tracks, candidates)
        size = min(close_ups.MOST, self._limit) if small else self._limit
        while True:
            winners: list[tuple[Response, int]] = []
            for ids in _groups(candidates, size):
                if small:
                    view = close_ups.side_by_side(whole, self._tracks, ids, self._config.marker)
                else:
                    view = self._view(whole, ids)
                (response,) = self._asked_in(view, [one.query])
                fits = response.names_object and set(response.answer.object_ids) <= set(ids)
                winners += [(response, len(one.looks))] if fits else []
                self._note(one, "group", view, response, "a candidate" if fits else "none of them")
            names = list(dict.fromkeys(i for won, _ in winners for i in won.answer.object_ids))
            if len(candidates) <= size or len(names) <= 1 or len(names) >= len(candidates):
                return max(winners, key=lambda won: sureness_of(won[0]), default=None)
            candidates = names

    def _look_closer(self, one: _Asked, marked: MarkedFrames) -> None:
        """The answered range again, at a higher rate; it replaces the first for the same object.

        A small object is shown alone and enlarged.
        """
        first = one.best
        if not self._always or not first.names_object:
            return
        frames = marked.frames
        part = stretches.closer(
            *range_of(first), self._duration, step_seconds=2 / frames.sample_fps
        )
        if part is None:
            return
        sampling = stretches.closer_sampling(
            self._config.sampling,
            n_frames=len(frames),
            sample_fps=frames.sample_fps,
            seconds=part[1] - part[0],
        )
        wanted = first.answer.object_ids
        ids = self._presence.ranked(*part)[: self._limit]
        ids += [i for i in wanted if i not in ids]
        stretch = read_stretch(self._source, sampling, *part)
        if stretch is None or not set(wanted) <= set(self._tracks.object_ids):
            return
        if len(wanted) <= close_ups.MOST and close_ups.are_small(self._tracks, wanted):
            view = close_ups.side_by_side(stretch, self._tracks, wanted, self._config.marker)
        else:
            view = self._view(stretch, ids[-self._limit :])
        (again,) = self._asked_in(view, [one.query])
        agrees = again.names_object and set(again.answer.object_ids) == set(wanted)
        if agrees and range_of(again)[0] < range_of(again)[1]:
            one.best = again
            outcome = "agrees on the object; its range stands"
        else:
            outcome = f"names {objects_of(again)} instead of {objects_of(first)}; the first stands"
            one.doubt(f"A second look at {part[0]:.2f} to {part[1]:.2f} s {outcome}.")
        self._note(one, "closer", view, again, outcome)

    def _view(self, stretch: Stretch, ids: Sequence[int]) -> View:
        return view_of(stretch, self._tracks, ids, self._config.marker, self._limit)

    def _asked_in(self, view: View, queries: Sequence[str]) -> list[Response]:
        """Answers about a view, in the video's clock and numbers."""
        self._tell(*self._told)  # Before each look of many, for whoever wants to stop.
        return [response.in_video(view) for response in self._ask(view.marked, queries)]

    def _note(self, one: _Asked, kind: str, view: View, response: Response, outcome: str) -> None:
        shown = view.marked.visible_ids
        one.shown |= shown
        one.looks.append(
            Look(
                kind=kind,
                start_seconds=view.stretch.start_seconds,
                end_seconds=view.stretch.end_seconds,
                sample_fps=view.marked.frames.sample_fps,
                shown_ids=tuple(sorted(shown)),
                object_ids=response.answer.object_ids,
                range_seconds=range_of(response) if response.answer.is_valid else None,
                text=str(response.text),
                outcome=outcome,
            )
        )

    def _tell(self, done: int, total: int) -> None:
        self._told = done, total
        if self._progress is not None:
            self._progress("look", done, total)


def _groups(ids: Sequence[int], size: int) -> list[Sequence[int]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]
