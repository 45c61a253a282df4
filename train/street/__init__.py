"""Rendered street scenes with class hints: closer to real footage than sprite world.

`words` has nouns and wordings, `world` says what happens, `render` draws it, `samples` makes
training samples. For training only; nothing is measured on it but how well it was learned.
"""
