"""What a user gets: the wheel holds the data files, is small enough, and runs without the tree."""

import shutil
import subprocess
import sys
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
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    # No isolation: the build back end is in the dev extra, so that no network is needed.
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
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
