"""Sprite world: rendered clips of moving emoji with known truth, to train and measure on.

`scene` says what happens, `render` draws it, `clips` writes files.
"""
