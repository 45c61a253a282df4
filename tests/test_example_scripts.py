"""The scripts and the notebook of `examples/` run as they stand, and find what they should."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
PRINTED = {
    "evaluate": "mean of 6",
    "export": "The same from saved tracks: GroundingResult(",
    "ground": "the person walking to the left: 1.90 to 6.50 s",
    "many_questions": "a dog: nothing. Nothing fits: No dog was found",
    "own_detector": "found by 'movers'\nGroundingResult(",
}
WRITTEN = {
    "export": [
        "answer.json",
        "answer.mp4",
        "answer.png",
        "boxes.csv",
        "coco.json",
        "mot.txt",
        "timeline.png",
        "tracks.json",
    ],
    "ground": ["overlay.mp4"],
}


def test_every_example_is_run_and_listed() -> None:
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert scripts == set(PRINTED)
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in listed for path in EXAMPLES.iterdir() if path.suffix != ".md")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PRINTED))
def test_a_script_finds_what_it_should(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [f"{name}.py"])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert PRINTED[name] in capsys.readouterr().out
    written = {path.name: path.stat().st_size for path in tmp_path.rglob("*.*")}
    assert all(written[file] > 0 for file in WRITTEN.get(name, []))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "clear the outputs before committing"
    notebook.cells.append(nbformat.v4.new_code_cell("result.show()"))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for output in cells[0].outputs)
    assert "decode/track" in said, "a notebook shows bars"
    assert "<svg" in cells[0].outputs[-1].data["text/html"]
    assert "<svg" in notebook.cells[-1].outputs[-1].data["text/html"]
    shown = [output for cell in cells for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert (tmp_path / "overlay.mp4").stat().st_size > 0
