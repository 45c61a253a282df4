"""Short, pure tracklets -> whole objects, looking at the clip from both ends.

A tracker that walks through a video must decide at once; here the future is known. The linker
(`association.link`) breaks a tracklet whenever it is in doubt, `split_at_crossings` breaks it
again wherever two objects overlap, and `stitch` joins the pieces: every end is paired with every
later beginning by where each would have been at the other's time, by size and by appearance, and
one assignment over all pairs decides. Near joins come first, so the far ones are judged by longer,
better known pieces.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_iou

GAP_LEVELS_SECONDS = (0.35, 1.0, 2.0, 4.0)
"""Longest time without a detection that a join may bridge, one round of joining each."""
_LEVEL_STEPS = 3.2
"""Each of these rounds bridges at least this many detection steps, however slow they are."""
_NEAR_STEPS = 2.2
"""Where these are longer than the first round, one before it bridges no more: at two frames a
second most pieces are one detection, and should get a speed before they go far."""
_OVERLAP_SECONDS = 1.0
"""Two pieces of one object may overlap in time this long: one of them is then a double."""
_CROSSING_IOU = 0.25
_CROSSING_PAUSE = 3
_CLASS_STEPS = 4
"""So many detections of one class, and then of another, are no doubt about the class."""

# The cost of a join: squared deviations over twice their variance, summed. Object size is the
# square root of the box area, so all spreads are relative and no video size enters.
_MAX_COST = 4.5
_POSITION_SPREAD = 0.2
_SPEED_SPREAD = 0.45
"""Object sizes a second by which a prediction may go wrong."""
_SIZE_SPREAD = 0.28
_APPEARANCE_USUAL, _APPEARANCE_SPREAD = 0.05, 0.06
"""Distance between two appearances of one object that is normal, and how far it may exceed that."""
_BORDER_COST = 2.0
"""For each piece that ends or begins at the frame border: it left, so another one came."""
_BORDER_SHARE = 0.005
_MOTION_SECONDS = 1.0
_APPEARANCE_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Tracklet:
    """Detections believed to be one object, in time order; T of them."""

    frames: NDArray[np.int64]
    """`(T,)` native frames."""
    times: NDArray[np.float64]
    """`(T,)` seconds."""
    boxes: NDArray[np.float64]
    """`(T, 4)` xyxy pixels."""
    scores: NDArray[np.float64]
    """`(T,)` in 0..1."""
    class_ids: NDArray[np.int64]
    """`(T,)`."""
    appearance: NDArray[np.float32]
    """`(T, L)` from `appearance.appearance_of`."""
    visible_fraction: NDArray[np.float64]
    """`(T,)` share of the box that no other box of the frame covers, in 0..1."""

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, keep: slice | NDArray[np.bool_]) -> Tracklet:
        """The chosen detections alone."""
        return Tracklet(*(getattr(self, f.name)[keep] for f in dataclasses.fields(self)))


def join(pieces: Sequence[Tracklet]) -> Tracklet:
    """One tracklet of several that follow one another; overlaps are cut in their middle."""
    trimmed = list(pieces)
    for i in range(len(trimmed) - 1):
        first, second = trimmed[i], trimmed[i + 1]
        if second.frames[0] <= first.frames[-1]:
            middle = (second.frames[0] + first.frames[-1]) // 2
            trimmed[i] = first.part(first.frames <= middle)
            trimmed[i + 1] = second.part(second.frames > middle)
    fields = dataclasses.fields(Tracklet)
    return Tracklet(*(np.concatenate([getattr(t, f.name) for t in trimmed]) for f in fields))


def stitch(
    tracklets: Sequence[Tracklet], *, width: int, height: int, step_seconds: float
) -> list[Tracklet]:
    """Join the tracklets of one scene and one class group into objects.

    Args:
        tracklets: pieces that may overlap in time.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
        step_seconds: usual time between two detected frames.

    Returns:
        Objects ordered by first frame, then by left edge.
    """
    current = split_at_crossings(split_by_class(tracklets))
    far = (max(gap, _LEVEL_STEPS * step_seconds) for gap in GAP_LEVELS_SECONDS)
    near = _NEAR_STEPS * step_seconds
    for gap in (near, *far) if near > GAP_LEVELS_SECONDS[0] else far:
        current = _join_once(current, gap, width, height, step_seconds)
    return _in_order(current)


def split_by_class(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Cut where one class ends and another begins, so that appearance and motion decide anew.

    Where a cut of the film was missed, something else stands in an object's place. Where most
    objects go on, there was none.
    """
    places = [_class_changes(tracklet.class_ids) for tracklet in tracklets]
    changing = Counter(
        int(t.frames[k]) for t, own in zip(tracklets, places, strict=True) for k in own
    )
    present = {f: sum(t.frames[0] < f <= t.frames[-1] for t in tracklets) for f in changing}
    pieces = []
    for tracklet, own in zip(tracklets, places, strict=True):
        frames = [(k, int(tracklet.frames[k])) for k in own]
        cuts = [k for k, frame in frames if 2 * changing[frame] >= present[frame]]
        edges = [0, *cuts, len(tracklet)]
        pieces += [tracklet.part(slice(a, b)) for a, b in pairwise(edges)]
    return pieces


def _class_changes(class_ids: NDArray[np.int64]) -> list[int]:
    """Places in `(T,)` at which one class ends and another begins, both of which last."""
    edges = np.array([0, *(np.flatnonzero(np.diff(class_ids)) + 1), len(class_ids)])
    runs = np.diff(edges)
    return [int(k) for k in edges[1:-1][np.minimum(runs[:-1], runs[1:]) >= _CLASS_STEPS]]


def split_at_crossings(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    """Cut both tracklets where their overlap peaks, so that appearance and motion decide anew."""
    met: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for frame, owners, boxes in _by_frame(tracklets):
        overlap = np.triu(box_iou(boxes, boxes), 1)
        for a, b in np.argwhere(overlap > _CROSSING_IOU).tolist():
            pair = (int(owners[a]), int(owners[b]))
            met.setdefault(pair, []).append((frame, float(overlap[a, b])))
    order = {int(f): n for n, f in enumerate(_all_frames(tracklets))}
    cuts: list[set[int]] = [set() for _ in tracklets]
    for pair, meeting in met.items():
        places = np.array([order[frame] for frame, _ in meeting])
        for event in np.split(
            np.arange(len(meeting)), np.flatnonzero(np.diff(places) > _CROSSING_PAUSE) + 1
        ):
            peak = max(event.tolist(), key=lambda i: meeting[i][1])
            for index in pair:
                cuts[index].add(int(np.searchsorted(tracklets[index].frames, meeting[peak][0])))
    pieces = []
    for tracklet, places_to_cut in zip(tracklets, cuts, strict=True):
        edges = [0, *sorted(c for c in places_to_cut if c > 0), len(tracklet)]
        pieces += [tracklet.part(slice(a, b)) for a, b in pairwise(edges)]
    return _in_order(pieces)


def _all_frames(tracklets: Sequence[Tracklet]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([t.frames for t in tracklets] or [np.zeros(0, np.int64)]))


def _by_frame(
    tracklets: Sequence[Tracklet],
) -> list[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
    """`(frame, owners (n,), boxes (n, 4))` of every frame, ascending."""
    if not tracklets:
        return []
    owners = np.repeat(np.arange(len(tracklets)), [len(t) for t in tracklets])
    frames = np.concatenate([t.frames for t in tracklets])
    boxes = np.concatenate([t.boxes for t in tracklets])
    order = np.argsort(frames, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(frames[order])) + 1)
    return [(int(frames[p[0]]), owners[p], boxes[p]) for p in parts]


def _in_order(tracklets: Sequence[Tracklet]) -> list[Tracklet]:
    return sorted(tracklets, key=lambda t: (int(t.frames[0]), t.boxes[0].tolist()))


def _join_once(
    tracklets: list[Tracklet], max_gap: float, width: int, height: int, step: float
) -> list[Tracklet]:
    if len(tracklets) < 2:
        return tracklets
    pairs = _candidates(tracklets, max_gap, step)
    cost = _join_costs(tracklets, pairs, width, height, _LEVEL_STEPS * step)
    affordable = cost < _MAX_COST
    follower = _assign(pairs[affordable], cost[affordable], len(tracklets))
    followers = set(follower.values())
    joined = []
    for first in range(len(tracklets)):
        if first in followers:
            continue
        chain = [first]
        while chain[-1] in follower:
            chain.append(follower[chain[-1]])
        joined.append(join([tracklets[i] for i in chain]))
    return joined


def _candidates(tracklets: Sequence[Tracklet], max_gap: float, step: float) -> NDArray[np.int64]:
    """Pairs `(P, 2)`, the second of which may in time be the continuation of the first."""
    starts = np.array([t.times[0] for t in tracklets])
    ends = np.array([t.times[-1] for t in tracklets])
    known = ends - starts
    by_start = np.argsort(starts, kind="stable")
    pairs = []
    for i in range(len(tracklets)):
        low = np.searchsorted(starts[by_start], ends[i] - _OVERLAP_SECONDS, "left")
        high = np.searchsorted(starts[by_start], ends[i] + max_gap + 1e-6, "right")
        later = by_start[low:high]
        shorter = np.minimum(known[i], known[later])
        gap = starts[later] - ends[i]
        # What is known for a moment only cannot be predicted for long.
        trusted = max(GAP_LEVELS_SECONDS[0], _LEVEL_STEPS * step) + shorter
        fits = (gap > -shorter / 2 - 1e-9) & (gap <= trusted + 1e-6)
        fits &= (starts[i] < starts[later]) & (ends[i] < ends[later])
        pairs += [(i, int(j)) for j in later[fits]]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _join_costs(
    tracklets: Sequence[Tracklet],
    pairs: NDArray[np.int64],
    width: int,
    height: int,
    border_gap: float,
) -> NDArray[np.float64]:
    """Cost `(P,)` of letting the second tracklet of each pair follow the first."""
    ends = _Side.of(tracklets, at_end=True).take(pairs[:, 0])
    starts = _Side.of(tracklets, at_end=False).take(pairs[:, 1])
    gap = starts.time - ends.time
    size = (np.sqrt(ends.sides.prod(axis=1)) + np.sqrt(starts.sides.prod(axis=1))) / 2
    spread = _POSITION_SPREAD + _SPEED_SPREAD * np.maximum(gap, 0)
    moved = starts.center - ends.center
    forward = np.sum((moved - ends.velocity * gap[:, None]) ** 2, axis=1)
    backward = np.sum((moved - starts.velocity * gap[:, None]) ** 2, axis=1)
    position = (forward + backward) / (2 * size * spread) ** 2 + np.log(spread / _POSITION_SPREAD)
    extent = np.sum(np.log(ends.sides / starts.sides) ** 2, axis=1) / (2 * _SIZE_SPREAD**2)
    distance = np.sqrt(np.clip(1 - np.sum(ends.appearance * starts.appearance, axis=1), 0, 1))
    appearance = np.clip(distance - _APPEARANCE_USUAL, 0, None) ** 2 / (2 * _APPEARANCE_SPREAD**2)
    at_border = _touches_border(ends.box, width, height).astype(float)
    at_border += _touches_border(starts.box, width, height)
    border = _BORDER_COST * at_border * (gap > max(border_gap, GAP_LEVELS_SECONDS[0]) + 1e-6)
    return np.asarray(position + extent + appearance + border)


def _touches_border(boxes: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    margin = np.array([width, height]) * _BORDER_SHARE
    low = (boxes[:, :2] <= margin).any(axis=1)
    high = (boxes[:, 2:] >= np.array([width, height]) - margin).any(axis=1)
    return np.asarray(low | high)


def _assign(pairs: NDArray[np.int64], cost: NDArray[np.float64], n: int) -> dict[int, int]:
    """Cheapest set of joins; leaving a pair apart costs as much as the worst join allowed.

    Pairs fall into independent clusters, so that a long video is many small problems.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # Node i is the end of tracklet i, node n + j the beginning of tracklet j.
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], n + pairs[:, 1])), (2 * n, 2 * n))
    _, cluster = connected_components(graph, directed=False)
    labels = cluster[pairs[:, 0]]
    follower: dict[int, int] = {}
    for label in np.unique(labels).tolist():
        own = labels == label
        rows, row = np.unique(pairs[own, 0], return_inverse=True)
        columns, column = np.unique(pairs[own, 1], return_inverse=True)
        table = np.full((len(rows), len(columns) + len(rows)), 1e6)
        table[row, column] = cost[own]
        table[np.arange(len(rows)), len(columns) + np.arange(len(rows))] = _MAX_COST
        for r, c in zip(*linear_sum_assignment(table), strict=True):
            if c < len(columns):
                follower[int(rows[r])] = int(columns[c])
    return follower


@dataclass(frozen=True, eq=False)
class _Side:
    """One end of each of N tracklets: its state at the last (or first) detection."""

    time: NDArray[np.float64]
    box: NDArray[np.float64]
    center: NDArray[np.float64]
    velocity: NDArray[np.float64]
    sides: NDArray[np.float64]
    appearance: NDArray[np.float64]

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet], *, at_end: bool) -> _Side:
        states = [_side_state(t, -1 if at_end else 0) for t in tracklets]
        return cls(*(np.array(column) for column in zip(*states, strict=True)))

    def take(self, index: NDArray[np.int64]) -> _Side:
        return _Side(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))


def _side_state(
    tracklet: Tracklet, which: int
) -> tuple[
    float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64],
    NDArray[np.float64],
]:  # fmt: skip
    time = float(tracklet.times[which])
    age = np.abs(tracklet.times - time)
    near = age <= _MOTION_SECONDS
    boxes = tracklet.boxes[near]
    sides = np.maximum(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 1.0)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    center, velocity = _fit_line(tracklet.times[near] - time, centers)
    seen = age <= _APPEARANCE_SECONDS
    # A box that another one covers shows the other one's colours.
    weights = tracklet.scores[seen] * (tracklet.visible_fraction[seen] ** 2 + 0.01)
    appearance = (tracklet.appearance[seen] * weights[:, None]).sum(axis=0)
    appearance = appearance / max(float(np.linalg.norm(appearance)), 1e-9)
    return time, tracklet.boxes[which], center, velocity, sides, appearance


def _fit_line(
    t: NDArray[np.float64], centers: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position at t = 0 and velocity of `(T, 2)` centres; few points count as nearly at rest."""
    weights = np.exp(-np.abs(t) / _MOTION_SECONDS)
    mean_time = np.average(t, weights=weights)
    mean = np.average(centers, axis=0, weights=weights)
    scatter = np.sum(weights * (t - mean_time) ** 2) + 0.1**2
    velocity = (weights * (t - mean_time)) @ (centers - mean) / scatter
    return mean - velocity * mean_time, velocity
