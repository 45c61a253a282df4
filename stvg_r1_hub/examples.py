"""The clips that come with the package, each with a question about it.

The `.json` of an example says clip, question and where the clip is from, and what is true of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from stvg_r1_hub.errors import ConfigError, ModelError, package_origin

FOLDER = Path(__file__).parent / "bundled" / "demo"
_FIRST = ("street", "demo")


class Example(NamedTuple):
    """A bundled clip and what to ask about it."""

    name: str
    clip: Path
    query: str


def bundled_examples() -> list[Example]:
    """Every example whose clip is there: the real street first, then `demo`, then the others."""

    def place(file: Path) -> tuple[int, str]:
        known = (i for i, name in enumerate(_FIRST) if file.stem.startswith(name))
        return next(known, len(_FIRST)), file.stem

    files = sorted(FOLDER.glob("*.json"), key=place)
    values = [(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]
    examples = [Example(name, FOLDER / v["clip"], str(v["query"])) for name, v in values]
    return [example for example in examples if example.clip.is_file()]


def find_example(name: str) -> Example:
    """One example.

    Raises:
        ConfigError: there is none of this name; the sentence lists all.
        ModelError: the installation has lost its clips.
    """
    known = {example.name: example for example in bundled_examples()}
    if name in known:
        return known[name]
    if not set(_FIRST) <= set(known):
        raise ModelError(
            "The example clips are missing from this installation; "
            f"reinstall with: pip install --force-reinstall --no-deps {package_origin()}"
        )
    raise ConfigError(f"Got {name!r} as the name of an example; there is {', '.join(known)}.")


def example_video(name: str) -> Path:
    """The path of a video that comes with the package.

    >>> example_video("street").name
    'street.mp4'

    Args:
        name: `"street"` for eight seconds of a real one, 768x576 pixels at 10 frames a second;
            `"demo"` for rendered emoji; or another example of `bundled/demo`.

    Raises:
        ConfigError: there is none of this name; the sentence lists all.
        ModelError: the installation has lost its clips.
    """
    return find_example(name).clip
