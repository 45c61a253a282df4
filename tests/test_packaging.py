"""What a user gets: the wheel holds the data files, is small enough, and runs without the tree."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_WHEEL_BYTES = 48 * 1024 * 1024


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, because the build leaves files behind that a later wheel would pick up.
    source = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stvg_r1_hub", source / "stvg_r1_hub", ignore=ignored)
    (source / "docs").mkdir()
    for name in ("pyproject.toml", "docs/pypi.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    return build("--wheel", source, tmp_path_factory.mktemp("wheel"))


def build(kind: str, source: Path, out: Path) -> Path:
    # No isolation: the build back end is in the dev extra, so that no network is needed.
    subprocess.run(
        [sys.executable, "-m", "build", kind, "--no-isolation", "--outdir", out, source],
        check=True,
        capture_output=True,
    )
    (path,) = out.iterdir()
    return path


@pytest.mark.slow
def test_wheel_holds_code_and_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        infos = {info.filename: info.file_size for info in archive.infolist()}
    package = ROOT / "stvg_r1_hub"
    wanted = {
        str(path.relative_to(ROOT))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= set(infos), f"the wheel lacks {sorted(wanted - set(infos))}"
    assert "stvg_r1_hub/py.typed" in infos
    tops = {name.split("/")[0] for name in infos}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stvg_r1_hub"}
    assert any(name.endswith("licenses/NOTICE") for name in infos)
    assert sum(infos.values()) <= MAX_WHEEL_BYTES


@pytest.mark.slow
def test_wheel_runs_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import stvg_r1_hub, stvg_r1_hub.pipeline\n"
        "print(stvg_r1_hub.__file__)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert str(tmp_path) in result.stdout


@pytest.mark.slow
def test_the_source_package_holds_training_documents_and_tests(tmp_path: Path) -> None:
    left = shutil.ignore_patterns(".*", "__pycache__", "outputs", "runs", "build", "dist")
    source = shutil.copytree(ROOT, tmp_path / "source", ignore=left)
    out = tmp_path / "out"
    out.mkdir()
    with tarfile.open(build("--sdist", source, out)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = ("train", "tests", "docs", "examples", "benchmarks")
    wanted = {
        str(path.relative_to(source))
        for top in tops
        for path in (source / top).rglob("*")
        if path.is_file()
    }
    assert wanted | {"README.md", "Makefile", "CITATION.cff", "mkdocs.yml", "app.py"} <= names
