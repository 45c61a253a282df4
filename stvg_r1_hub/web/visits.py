"""What a visitor was shown, kept beside its files, so that an address brings it back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stvg_r1_hub.outputs import replacing
from stvg_r1_hub.web.answers import Answered, Seen

FILE = "visit.json"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_PATHS = {"folder", "video", "marked", "overlay", "json", "masks", "sample"}


@dataclass(frozen=True)
class Visit:
    """One question with all that was made of it."""

    text: str
    """The descriptions as they were written."""
    seen: Seen
    answers: list[Answered]

    @property
    def token(self) -> str:
        """What its address ends with; nobody can guess it."""
        return self.seen.folder.name


def save(visit: Visit) -> None:
    """Keep a visit in its own folder, for as long as that is there."""
    if visit.seen.folder.is_dir():
        with replacing(visit.seen.folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(visit), default=str), encoding="utf-8")


def load(results: Path, token: str) -> Visit | None:
    """The visit of a token; None for one that is none, or whose files are deleted.

    Args:
        results: where the folders of all visits lie.
        token: from an address, so anything.
    """
    if not _TOKEN.fullmatch(token):
        return None
    try:
        values = json.loads((results / token / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    visit = Visit(
        values["text"], _made(Seen, values["seen"]), [_made(Answered, a) for a in values["answers"]]
    )
    there = visit.seen.video.is_file() and all(answer.files_exist() for answer in visit.answers)
    return visit if there and visit.seen.marked.is_file() else None


def _made(record: type[Any], values: dict[str, Any]) -> Any:
    """A record from its JSON values."""
    arguments = {field.name: values[field.name] for field in fields(record)}
    for name, value in arguments.items():
        if name in _PATHS and value is not None:
            arguments[name] = Path(value)
        elif name == "before" and value is not None:
            arguments[name] = _made(record, value)
        elif name in ("messages", "asks", "window"):
            arguments[name] = tuple(value)
    return record(**arguments)
