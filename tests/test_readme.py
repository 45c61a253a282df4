"""The README says what is true: its file tree, its commands, its size limits."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_SHIPPED_BYTES = 48 * 1024 * 1024


def documented_tree() -> dict[str, str]:
    """Path -> purpose, from the code block below the heading."""
    block = re.search(r"## Files\n.*?```text\n(.*?)```", README, re.DOTALL)
    assert block is not None, "the README has no '## Files' section with a text block"
    tree: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, purpose = line.strip().partition(" ")
        folders = folders[:depth]
        tree["/".join([*folders, name.rstrip("/")])] = purpose.strip()
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
    return tree


def python_files() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for folder in ("stvg_r1_hub", "train", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts and path.name != "__init__.py"
    }


def test_every_path_in_the_tree_exists_and_has_a_purpose() -> None:
    for path, purpose in documented_tree().items():
        assert (ROOT / path).exists(), f"the README names {path}, which does not exist"
        assert purpose, f"the README does not say what {path} is for"


def test_every_python_file_is_in_the_tree() -> None:
    missing = python_files() - set(documented_tree())
    assert not missing, f"the README's tree lacks {sorted(missing)}"


def test_opens_with_the_two_commands() -> None:
    body = README.split("---", 2)[2]
    first_block = re.search(r"```(?:bash|sh)\n(.*?)```", body, re.DOTALL)
    assert first_block is not None
    assert re.findall(r"^make \w+", first_block[1], re.MULTILINE) == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\ndemo:" in makefile and "\ntest:" in makefile


def test_space_front_matter() -> None:
    matter = dict(
        line.split(": ", 1) for line in README.split("---")[1].strip().splitlines() if ": " in line
    )
    assert matter["sdk"] == "gradio"
    assert matter["license"] == "apache-2.0"
    assert matter["python_version"].strip('"') == "3.12.12"


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b|lorem ipsum", README, re.IGNORECASE)


def test_requirements_hold_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {re.split(r"[<>=!~\[;]", line)[0].strip() for line in lines if line[:1].isalpha()}
    needed = {re.split(r"[<>=!~\[;]", line)[0].strip() for line in project["dependencies"]}
    assert needed <= listed, f"requirements.txt lacks {needed - listed}"


def test_shipped_files_are_small_enough_and_typed() -> None:
    package = ROOT / "stvg_r1_hub"
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    total = sum(path.stat().st_size for path in files)
    assert total <= MAX_SHIPPED_BYTES, f"the package holds {total / 1e6:.1f} MB"
    assert (package / "py.typed").is_file()


def test_every_extra_that_a_message_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    for path in (ROOT / "stvg_r1_hub").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        named = re.findall(r"require_package\(\s*\"[^\"]+\",\s*\"([^\"]+)\"", source)
        assert set(named) <= extras, path
    assert set(re.findall(r"`(\w+)`", README.split("## Optional packages")[1].split("##")[0])) >= {
        "sam2", "train", "app", "quantization", "dev", "all", "yolo",
    }  # fmt: skip
