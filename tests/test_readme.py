"""The documents say what is true: the folders, the links, the extras, the bundled model."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import stvg_r1_hub

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"),
                *ROOT.glob("train/**/*.md")])  # fmt: skip
MAX_README_BYTES = 9 * 1024
MAX_SHIPPED_BYTES = 48 * 1024 * 1024


def documented_folders() -> dict[str, str]:
    """Folder -> purpose, from the tree in docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    block = re.search(r"## One line a folder\n.*?```text\n(.*?)```", page, re.DOTALL)
    assert block is not None, "docs/architecture.md has no tree below '## One line a folder'"
    tree: dict[str, str] = {}
    above: list[str] = []
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, purpose = line.strip().partition(" ")
        above = [*above[:depth], name.rstrip("/")]
        tree["/".join(above)] = purpose.strip()
    return tree


def test_architecture_names_every_folder_and_no_other() -> None:
    tree = documented_folders()
    for folder, purpose in tree.items():
        assert (ROOT / folder).is_dir(), f"docs/architecture.md names {folder}, which is none"
        assert purpose, f"docs/architecture.md does not say what {folder} is for"
    files = [path for top in ("stvg_r1_hub", "train") for path in (ROOT / top).rglob("*.*")]
    folders = {str(path.parent.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert folders <= set(tree), f"docs/architecture.md lacks {sorted(folders - set(tree))}"


def test_the_modules_on_the_walk_are_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", page))
    there = [str(path.relative_to(ROOT)) for path in ROOT.glob("*/**/*.py")]
    assert named and not {n for n in named if not any(f"/{p}".endswith(f"/{n}") for p in there)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/index.md", "docs/models.md", "docs/pypi.md"],
)
def test_the_bundled_model_is_described_in_the_same_words(page: str) -> None:
    card = (ROOT / "stvg_r1_hub/bundled/tiny/README.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"The bundled model reads .*?\.\s", card, re.DOTALL)
    words = (ROOT / page).read_text(encoding="utf-8").split()
    assert " ".join(said.split()) in " ".join(words)


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= MAX_README_BYTES


def test_what_pypi_shows_has_no_settings_of_the_space() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shown = (ROOT / project["readme"]).read_text(encoding="utf-8")
    assert shown.startswith("# stvg-r1-hub") and "sdk:" not in shown
    assert not re.search(r"\]\((?!https?:)", shown), "PyPI has none of the files beside it"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == stvg_r1_hub.__version__
    assert f"## {citation['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


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
    page = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    assert extras == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", page, re.M))))
