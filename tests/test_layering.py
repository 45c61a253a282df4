"""The imports point one way: a stage knows the records and nothing else of ours."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "stvg_r1_hub"

# What every module may import.
BASE = {"structures", "geometry", "config", "errors", "outputs", "mask_session", "timings"}
# What only draws or keeps files; used by the assembling modules below.
SUPPORT = {
    "hub_files": {"hub_errors"},
    "hub": {"hub_files", "training_record"},
    "tracking": {"hub_files"},
    "segmentation": {"hub_files"},
    "model_card": {"card_results", "training_record"},
    "saving": {"hub", "hub_errors", "hub_files", "model_card", "card_results", "training_record"},
    "rendering": {"drawing"},
    "pictures": {"drawing", "rendering"},
}
# The modules that put stages together, each with what it may import besides the base.
STAGES = {
    "video",
    "tracking",
    "segmentation",
    "marking",
    "prompting",
    "vlm",
    "answer",
    "tube",
    "hub",
    "saving",
}
ASSEMBLING = {
    "result": {"video", "rendering", "pictures", "tracking"},
    "clip": {"result", "video", "pipeline", "smaller_sample", "vlm"},
    "one_pass": {"video", "tracking"},
    "parts": {"hub", "prompting", "tracking", "segmentation", "vlm", "device"},
    "publishing": {"hub", "saving"},
    "pipeline": {
        *{*STAGES, "result", "clip", "device", "track_selection"},
        *{"one_pass", "parts", "notes", "publishing"},
    },
    "web": {
        "pipeline",
        "result",
        "rendering",
        "pictures",
        "drawing",
        "video",
        "hub",
        "tracking",
        "segmentation",
        "vlm",
        "examples",
    },
    "cli": {"commands", "evaluation"},
    "commands": {
        *{"pipeline", "result", "hub", "tracking", "video", "web", "doctor", "progress_bars"},
        "examples",
    },
    "evaluation": {
        *{"pipeline", "clip", "result", "video", "answer", "tracking", "prompting", "hub"},
        *{"drawing", "progress_bars"},
    },
}


def family(module: str) -> str:
    """`video_file` and `video` are one stage in several files, as is each sub-package."""
    head = module.split(".")[0]
    stage = head.split("_")[0]
    return stage if stage in ("answer", "video") else head


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
    return BASE | {name} | SUPPORT.get(name, set()) | ASSEMBLING.get(name, set())


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    name = family(module)
    found = {family(other) for other in imports_of(path.read_text(encoding="utf-8"), module)}
    assert found <= allowed_for(name), f"{module} must not import {found - allowed_for(name)}"


def test_a_forbidden_import_is_seen() -> None:
    source = "def f():\n    from stvg_r1_hub.video import open_video\n    import train.rewards\n"
    assert imports_of(source, "marking") - allowed_for("marking") == {"video", "train.rewards"}
    assert "relative import in x" in imports_of("from . import video", "x")


def test_nothing_in_the_package_imports_training_or_tests() -> None:
    for path in modules():
        for other in imports_of(path.read_text(encoding="utf-8"), path.name):
            assert other.split(".")[0] not in {"train", "tests"}, path
