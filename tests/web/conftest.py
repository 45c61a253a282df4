"""One page for all tests of this folder: the bundled model behind a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

DEMO = Path(__file__).parents[2] / "stvg_r1_hub" / "bundled" / "demo"


@dataclass(frozen=True)
class Demo:
    """The bundled clip and the truth about it."""

    clip: Path
    query: str
    start_seconds: float
    end_seconds: float

    def overlap(self, start: float, end: float) -> float:
        """Temporal IoU of an answer with the truth."""
        both = min(end, self.end_seconds) - max(start, self.start_seconds)
        either = max(end, self.end_seconds) - min(start, self.start_seconds)
        return max(0.0, both) / either


@pytest.fixture(scope="session")
def demo() -> Demo:
    values = json.loads((DEMO / "demo.json").read_text(encoding="utf-8"))
    return Demo(
        DEMO / "clip.mp4",
        values["query"],
        values["true_start_seconds"],
        values["true_end_seconds"],
    )


@dataclass(frozen=True)
class Served:
    """A running page."""

    url: str
    page: Any

    @property
    def grounder(self) -> Any:
        """What answers."""
        return self.page.grounder

    def widgets_kept(self) -> set[str]:
        """Kinds of widgets that the server keeps for the latest visit beside those of the page."""
        blocks = self.page.blocks
        visit = list(blocks.app.state_holder.session_data.values())[-1]
        own = blocks.default_config.blocks
        return {type(w).__name__ for i, w in visit.blocks_config.blocks.items() if i not in own}

    def unguarded_uploads(self) -> list[str]:
        """Visits whose upload is no longer the one that refuses addresses."""
        holder = self.page.blocks.app.state_holder.session_data
        return [
            visit
            for visit, state in holder.items()
            if "move_resource_to_block_cache" not in vars(state[self.page.video._id])
        ]


@pytest.fixture(scope="session")
def registry() -> Any:
    """The models of a page without the page, loaded once."""
    from stvg_r1_hub.web.models import ModelRegistry

    return ModelRegistry(["tiny"], device="cpu")


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    from stvg_r1_hub.web import launch

    page, url = launch(["tiny"], block=False)
    yield Served(url, page)
    page.blocks.close(verbose=False)


@pytest.fixture(scope="session")
def page(served: Served) -> str:
    """The address of the page."""
    return served.url
