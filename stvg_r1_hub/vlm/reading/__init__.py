"""Query and track notes in, what fits out: lexicon, meaning, matching."""
