"""`OpenVocabularyTracker`: tracks what is asked for, whatever class it is.

A fish or a forklift can be an answer although no fixed list of classes holds it. Where classes are
named in the settings, these are looked for instead of what the queries name. The detectors
behind it are in `transformers_open` and `ultralytics_open`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from stvg_r1_hub.config import TrackingConfig
from stvg_r1_hub.errors import TrackerError
from stvg_r1_hub.structures import VideoInfo
from stvg_r1_hub.tracking.association import DetectionTracker, frames_at
from stvg_r1_hub.tracking.class_groups import named_classes
from stvg_r1_hub.tracking.interfaces import OpenDetector, TrackingSession

_NO_NOUNS = frozenset(
    """
    a an the this that these those some any each every all both no other another one two three
    four five six seven eight nine ten first second third last next same
    i you he she it we they me him her us them his hers its our their my your who whom whose which
    what where when while and or but nor then than so as if because
    in on at by to of off for from with without into onto over under above below behind before
    after between among through across along around near beside besides toward towards against
    during until up down out away back forward left right front top bottom middle side there here
    is are was were be been being am do does did has have had having can could will would shall
    should may might must not n't it's
    red green blue yellow orange black white brown grey gray pink purple dark bright light big
    small large little tall short long young old fast slow quickly slowly very more most
    goes go went gone comes come came walks walk ran run runs jumps jump sits sit sat stands stand
    stood takes take took puts put gets get got holds hold held turns turn looks look opens open
    closes close moves move starts start stops stop rides ride rode throws throw threw picks pick
    plays play wears wear eats eat drinks drink drives drive leaves leave
    """.split()
)
_ENDS_LIKE_A_VERB = frozenset(
    "building ring king string wing ceiling painting bed sled seed weed shed red".split()
)
_MOST_NOUNS = 8


class OpenVocabularyTracker:
    """Tracks the things that the queries name."""

    class_names: tuple[str, ...] = ()

    def __init__(self, detector: OpenDetector, config: TrackingConfig, *, name: str) -> None:
        """Wrap a detector.

        Args:
            detector: finds what it is given words for.
            config: detection rate, threshold, classes.
            name: for messages, such as `"open"`.
        """
        self.name = name
        self._detector = detector
        self._config = config

    def frames_wanted(self, info: VideoInfo) -> Sequence[int]:
        """As `DetectionTracker`."""
        return frames_at(self._config.fps, info)

    def start(self, info: VideoInfo, query: str | Sequence[str] | None = None) -> TrackingSession:
        """Begin a video in which what all queries name is tracked, once.

        Raises:
            TrackerError: there is no query.
        """
        mode = self._config.class_mode
        words = named_classes(mode) or query_nouns(query or ())
        if not words:
            raise TrackerError(
                f"The tracker {self.name!r} looks for what is asked, but got no query; give one to "
                "open() or track(), or --query to stvg track; or take a tracker with fixed classes "
                "such as 'coco'"
            )
        config = self._config if mode == "non-person" else replace(self._config, class_mode="all")
        detector = self._detector.looking_for(words)
        remark = f"Only what the words say was looked for: {', '.join(words)}."
        return DetectionTracker(detector, config, name=self.name, remark=remark).start(info)


def query_nouns(query: str | Sequence[str]) -> list[str]:
    """Words of one or several queries that may name an object, in order, each once.

    No grammar, only lists: what is no article, preposition, auxiliary, pronoun, number, colour or
    common verb form is taken for a noun. A detector that is asked for a word too many finds
    nothing there; a word too few would hide the object. A text gives at least one; no query none.

    >>> query_nouns("the two dogs on the left chasing a frisbee")
    ['dogs', 'frisbee']
    >>> query_nouns(["the dog", "a fish behind the dog"])
    ['dog', 'fish']
    """
    texts = [query] if isinstance(query, str) else query
    return list(dict.fromkeys(noun for text in texts for noun in _nouns(text)))


def _nouns(query: str) -> list[str]:
    words = re.findall(r"[^\W\d_]+(?:['-][^\W\d_]+)*", query.lower())
    nouns = [word for word in words if word not in _NO_NOUNS and not _is_verb_form(word)]
    return list(dict.fromkeys(nouns))[:_MOST_NOUNS] or [" ".join(words) or query.strip()]


def _is_verb_form(word: str) -> bool:
    if word in _ENDS_LIKE_A_VERB:
        return False
    return len(word) > 4 and word.endswith(("ing", "ed", "ly"))
