"""Tests; a package, so that they can share `tests.media` and `tests.golden`."""
