"""Tracklets -> whole tracks, looking at the clip from both ends.

A tracker that walks through the video must decide at once; here the future is known. The linker
hands over short tracklets that are pure, because it breaks whenever it is in doubt, and
`stitch` joins them: every end is paired with every later beginning by where each would have been
at the other's time, by size and by look, and one assignment over all pairs decides. Near joins
come first, so the far ones are judged by longer, better known pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.geometry import box_iou
from stvg_r1_hub.tracking.appearance import look_distance

GAP_LEVELS_SECONDS = (0.35, 1.0, 2.0, 4.0)
"""Longest time without a detection that a join may bridge, one round of joining each."""
_MOTION_SECONDS = 1.0
_LOOK_SECONDS = 2.0
_POSITION_SPREAD = 0.15
_SPEED_SPREAD = 0.45
_SIZE_SPREAD = 0.2
_LOOK_MEAN, _LOOK_SPREAD = 0.08, 0.06
_MAX_COST = 4.5
_GAP_PER_KNOWN = 1.0


@dataclass(frozen=True, eq=False)
class Tracklet:
    """Detections believed to be one object, in time order; T of them."""

    frames: NDArray[np.int64]
    """`(T,)` native frames."""
    times: NDArray[np.float64]
    """`(T,)` seconds."""
    boxes: NDArray[np.float64]
    """`(T, 4)` xyxy."""
    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    looks: NDArray[np.float32]
    """`(T, L)` from `appearance.describe`."""
    clear: NDArray[np.float64]
    """`(T,)` share of the box that no other box of the frame covers, in 0..1."""

    def __len__(self) -> int:
        return len(self.frames)


def join(pieces: Sequence[Tracklet]) -> Tracklet:
    """One tracklet of several that follow one another in time."""
    trimmed = list(pieces)
    for i in range(len(trimmed) - 1):
        first, second = trimmed[i], trimmed[i + 1]
        if second.frames[0] <= first.frames[-1]:
            middle = (second.frames[0] + first.frames[-1]) // 2
            trimmed[i] = select(first, first.frames <= middle)
            trimmed[i + 1] = select(second, second.frames > middle)
    return Tracklet(
        *(
            np.concatenate([getattr(piece, name) for piece in trimmed])
            for name in Tracklet.__dataclass_fields__
        )
    )


def select(t, keep):
    return Tracklet(*(getattr(t, name)[keep] for name in Tracklet.__dataclass_fields__))

CROSS=0.35
def split_at_crossings(tracklets):
    cuts=[set() for _ in tracklets]
    for i,a in enumerate(tracklets):
        for j in range(i):
            b=tracklets[j]
            common,ia,ib=np.intersect1d(a.frames,b.frames,return_indices=True)
            if len(common)==0: continue
            from stvg_r1_hub.geometry import paired_iou
            iou=paired_iou(a.boxes[ia],b.boxes[ib])
            over=np.flatnonzero(iou>CROSS)
            if len(over)==0: continue
            for ev in np.split(over,np.flatnonzero(np.diff(over)>3)+1):
                k=ev[iou[ev].argmax()]
                cuts[i].add(int(ia[k]));cuts[j].add(int(ib[k]))
    out=[]
    for t,c in zip(tracklets,cuts):
        edges=[0,*sorted(x for x in c if 0<x<len(t)),len(t)]
        for lo,hi in zip(edges,edges[1:]): out.append(select(t,slice(lo,hi)))
    return sorted(out,key=lambda t:(t.frames[0],t.boxes[0].tolist()))

OVER=0.5
def stitch(tracklets: Sequence[Tracklet],width=768,height=576) -> list[Tracklet]:
    """Join tracklets of one scene and one class group into objects."""
    global SIZE
    SIZE=(width,height)
    current = split_at_crossings(list(tracklets))
    for gap in GAP_LEVELS_SECONDS:
        current = _join_once(current, gap)
    return current


def _join_once(tracklets: list[Tracklet], max_gap: float) -> list[Tracklet]:
    from scipy.optimize import linear_sum_assignment

    n = len(tracklets)
    if n < 2:
        return tracklets
    cost = join_costs(tracklets, max_gap)
    # Right half: every end may also stay alone, at the price of the worst join allowed.
    padded = np.concatenate([np.minimum(cost, 1e6), np.full((n, n), 1e6)], axis=1)
    padded[np.arange(n), n + np.arange(n)] = _MAX_COST
    rows, columns = linear_sum_assignment(padded)
    follower = {
        int(r): int(c) for r, c in zip(rows, columns, strict=True) if c < n and cost[r, c] < 1e6
    }
    firsts = [i for i in range(n) if i not in set(follower.values())]
    joined = []
    for first in firsts:
        chain = [first]
        while chain[-1] in follower:
            chain.append(follower[chain[-1]])
        joined.append(join([tracklets[i] for i in chain]))
    return joined


def join_costs(tracklets: Sequence[Tracklet], max_gap: float) -> NDArray[np.float64]:
    """Cost `(N, N)` of letting tracklet j follow tracklet i; infinite where impossible.

    The cost is a sum of squared deviations in units of their usual spread: position (predicted
    forwards and backwards at constant velocity, per object size, spread grows with the gap),
    size, and look.
    """
    ends = _Side.of(tracklets, at_end=True)
    starts = _Side.of(tracklets, at_end=False)
    gap = starts.time[None] - ends.time[:, None]
    known = np.array([t.times[-1] - t.times[0] for t in tracklets])
    trusted = GAP_LEVELS_SECONDS[0] + _GAP_PER_KNOWN * np.minimum(known[:, None], known[None])
    start=np.array([t.times[0] for t in tracklets]);end=np.array([t.times[-1] for t in tracklets])
    possible = (gap > -np.minimum(OVER,np.minimum(known[:,None],known[None])/2)-1e-9) & (gap <= np.minimum(max_gap, trusted) + 1e-6)
    possible &= (start[:,None]<start[None])&(end[:,None]<end[None])
    safe_gap = np.where(possible, gap, 0.0)
    size = (ends.size[:, None] + starts.size[None]) / 2
    moved = starts.center[None] - ends.center[:, None]
    spread = _POSITION_SPREAD + _SPEED_SPREAD * np.maximum(safe_gap,0)
    forward = moved - ends.velocity[:, None] * safe_gap[..., None]
    backward = moved - starts.velocity[None] * safe_gap[..., None]
    far = (np.sum(forward**2, -1) + np.sum(backward**2, -1)) / 2
    position = far / (size * spread) ** 2 / 2 + 2 * np.log(spread / _POSITION_SPREAD)/2
    shape = np.log(ends.sides[:, None] / starts.sides[None]) ** 2
    extent = np.sum(shape, -1) / (2 * _SIZE_SPREAD**2) / 2
    look = np.clip(look_distance(ends.look, starts.look) - _LOOK_MEAN, 0, None) / _LOOK_SPREAD
    last=np.array([t.boxes[-1] for t in tracklets]);first=np.array([t.boxes[0] for t in tracklets])
    border=_BORDER*(_touch(last)[:,None]*1.+_touch(first)[None])*(gap>GAP_LEVELS_SECONDS[0])
    cost = position + extent + look**2 / 2 + border
    return np.where(possible & (cost < _MAX_COST), cost, np.inf)


_BORDER=2.0
def _touch(b):
    W,H=SIZE
    return (b[:,0]<=.005*W)|(b[:,1]<=.005*H)|(b[:,2]>=.995*W)|(b[:,3]>=.995*H)


@dataclass(frozen=True, eq=False)
class _Side:
    """One end of each of N tracklets: state at its last (or first) detection."""

    time: NDArray[np.float64]
    center: NDArray[np.float64]
    velocity: NDArray[np.float64]
    sides: NDArray[np.float64]
    size: NDArray[np.float64]
    look: NDArray[np.float64]

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet], *, at_end: bool) -> _Side:
        rows = [_side_state(t, at_end) for t in tracklets]
        time, center, velocity, sides, look = (
            np.array(column) for column in zip(*rows, strict=True)
        )
        return cls(time, center, velocity, sides, np.sqrt(np.prod(sides, axis=1)), look)


def _side_state(
    tracklet: Tracklet, at_end: bool
) -> tuple[float, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray]:
    time = float(tracklet.times[-1] if at_end else tracklet.times[0])
    age = np.abs(tracklet.times - time)
    near = age <= _MOTION_SECONDS
    t = tracklet.times[near] - time
    boxes = tracklet.boxes[near]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides = np.maximum(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 1.0)
    center, velocity = _fit_line(t, centers, float(np.sqrt(np.prod(sides))))
    seen = age <= _LOOK_SECONDS
    weights = tracklet.scores[seen] * (tracklet.clear[seen] ** 2 + 0.01)
    look = (tracklet.looks[seen] * weights[:, None]).sum(0)
    return time, center, velocity, sides, look / max(float(np.linalg.norm(look)), 1e-9)


def _fit_line(
    t: NDArray[np.float64], centers: NDArray[np.float64], size: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position at t = 0 and velocity of `(T, 2)` centres, the velocity shrunk towards rest."""
    weights = np.exp(-np.abs(t) / _MOTION_SECONDS)
    mean_t = np.average(t, weights=weights)
    mean = np.average(centers, axis=0, weights=weights)
    # A fictitious observation: speed 0 with spread 1 size/s, positions with spread 0.1 size.
    scatter = np.sum(weights * (t - mean_t) ** 2) + 0.1**2
    velocity = (weights * (t - mean_t)) @ (centers - mean) / scatter
    return mean - velocity * mean_t, velocity


def clean(tracks, start_score=0.45, min_seconds=0.5):
    """Drop weak, short, duplicate tracks."""
    keep=[t for t in tracks if t.scores.mean()>=start_score and len(t)>=3 and t.times[-1]-t.times[0]>=min_seconds-1e-6]
    keep.sort(key=lambda t:-t.scores.sum())
    out=[]
    for t in keep:
        if all(_covered(t,o)<0.5 for o in out): out.append(t)
    return out
def _covered(t,o):
    """share of t's frames (filled) where o covers it"""
    full=t.frames
    inside=(full>=o.frames[0])&(full<=o.frames[-1])
    if not inside.any(): return 0.
    ob=np.stack([np.interp(full[inside],o.frames,o.boxes[:,k]) for k in range(4)],1)
    b=t.boxes[inside]
    w=np.clip(np.minimum(b[:,2:],ob[:,2:])-np.maximum(b[:,:2],ob[:,:2]),0,None).prod(1)
    a=(b[:,2:]-b[:,:2]).prod(1);ao=(ob[:,2:]-ob[:,:2]).prod(1)
    return float((w/np.minimum(a,ao)>0.7).sum()/len(full))
