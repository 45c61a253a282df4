"""The imports point one way, from room to room: a stage knows the records and helpers alone.

A room is a folder of the package or a module in its root.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "stvg_r1_hub"

# What every room may import.
BASE = {
    *{"structures", "geometry", "config", "errors", "outputs", "timings", "device"},
    "mask_session",
}
# The stages, each usable alone, with what some of them need of the Hub's files.
STAGES: dict[str, set[str]] = {
    "video": set(),
    "tracking": {"hub"},
    "segmentation": {"hub"},
    "notes": set(),
    "marking": set(),
    "prompting": {"answer"},  # A prompt names what reads its answer.
    "vlm": set(),
    "answer": set(),
    "tube": set(),
    "confidence": set(),
    "visual": set(),
    "exports": set(),
    "hub": set(),
    "track_selection": set(),
    "smaller_sample": set(),
    "progress_bars": set(),
    "examples": set(),
    "sprites": {"video"},
}
# The rooms that put stages together, each with what it may import besides the base.
ASSEMBLING: dict[str, set[str]] = {
    "reading": {"video", "tracking"},
    "result": {"video", "visual", "exports", "progress_bars"},
    "looking": {"video", "marking", "track_selection", "confidence"},
    "clip": {
        *{"looking", "result", "video", "prompting", "tube", "confidence", "smaller_sample"},
        *{"vlm", "progress_bars"},
    },
    "by_name": {"hub", "tracking", "segmentation", "prompting", "vlm"},
    "pipeline": {
        *{"by_name", "reading", "looking", "result", "clip", "hub", "tracking", "segmentation"},
        *{"notes", "marking", "prompting", "track_selection", "video", "visual", "vlm"},
        "progress_bars",
    },
    "evaluation": {
        *{"pipeline", "clip", "result", "video", "answer", "tracking", "prompting", "hub"},
        *{"visual", "progress_bars", "sprites", "vlm"},
    },
    "web": {
        *{"pipeline", "result", "visual", "video", "hub", "tracking", "segmentation", "examples"},
        *{"vlm", "prompting", "clip", "tube"},
    },
    "cli": {
        *{"pipeline", "result", "reading", "hub", "tracking", "segmentation", "video", "vlm"},
        *{"web", "evaluation", "examples", "progress_bars", "prompting"},
    },
}


def room(module: str) -> str:
    """The folder or root module that a dotted name lies in."""
    return module.split(".")[0]


def imports_of(source: str, module: str) -> set[str]:
    """Our modules that a module's source imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.add(f"relative import in {module}")
        elif isinstance(node, ast.ImportFrom) and node.module == "stvg_r1_hub":
            found |= {alias.name for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stvg_r1_hub."):
            found.add((node.module or "").removeprefix("stvg_r1_hub."))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("stvg_r1_hub"):
                    found.add(alias.name.removeprefix("stvg_r1_hub").lstrip(".") or "__init__")
                elif alias.name.split(".")[0] in {"train", "tests"}:
                    found.add(alias.name)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "train":
            found.add(node.module or "")
    return found


def allowed_for(name: str) -> set[str]:
    return BASE | {name} | STAGES.get(name, set()) | ASSEMBLING.get(name, set())


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    name = room(module)
    found = {room(other) for other in imports_of(path.read_text(encoding="utf-8"), module)}
    assert found <= allowed_for(name), f"{module} must not import {found - allowed_for(name)}"


def test_a_forbidden_import_is_seen() -> None:
    source = "def f():\n    from stvg_r1_hub.video import open_video\n    import train.rewards\n"
    assert imports_of(source, "marking") - allowed_for("marking") == {"video", "train.rewards"}
    assert "relative import in x" in imports_of("from . import video", "x")


def test_nothing_in_the_package_imports_training_or_tests() -> None:
    for path in modules():
        for other in imports_of(path.read_text(encoding="utf-8"), path.name):
            assert other.split(".")[0] not in {"train", "tests"}, path


def test_no_circles() -> None:
    """From room to room, imports of types included."""
    arrows: dict[str, set[str]] = {}
    for path in modules():
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for other in imports_of(path.read_text(encoding="utf-8"), module):
            if room(other) != room(module):
                arrows.setdefault(room(module), set()).add(room(other))

    def reached(start: str) -> set[str]:
        found, todo = set[str](), [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - found
            found |= new
            todo += new
        return found

    assert {name for name in arrows if name in reached(name)} == set()


def test_the_root_holds_the_flow_and_the_records() -> None:
    assert len([p for p in PACKAGE.glob("*.py") if p.name != "__init__.py"]) <= 20
