"""A query -> the things it speaks of, for detectors that look for what is named.

No grammar, only lists: what is no article, preposition, auxiliary, pronoun, number, colour or
common verb form is taken for a noun. A detector that is asked for a word too many finds nothing
there; a word too few would hide the object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def query_nouns(query: str | Sequence[str]) -> list[str]:
    """Words of one or several queries that may name an object, in order, each once.

    A text gives at least one; no query gives none.

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
