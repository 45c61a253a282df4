"""The report for a machine with a GPU: every row runs, is kept when done, and may fail alone."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_report import NO_TIME, main, report, run_row
from benchmarks.gpu_rows import ROWS

TWO = ["vision tower", "detectors"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_a_row_at_its_smallest(name: str) -> None:
    lines = list(ROWS[name]("cpu", True))
    assert lines and all(what and any(map(str.isdigit, figure)) for what, figure in lines)


@pytest.mark.slow
def test_a_row_that_fails_is_written_down_and_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    assert run_row(TWO[0], True, 0.01)["error"] == f"ended after 0 s; {NO_TIME}"
    failed = {"row": TWO[0], "measured": [["a", "1 s"]], "error": "memory | ran out", "seconds": 1}
    done = {"row": TWO[1], "measured": [["b", "2 s"]], "error": None, "seconds": 1}
    kept = out.with_suffix(".jsonl")
    kept.write_text(json.dumps(failed) + "\n" + json.dumps(done) + "\n", encoding="utf-8")
    report(out, [*TWO, "masks"], seconds=0, smallest=True, resume=True)
    text = out.read_text(encoding="utf-8")
    assert f"| {TWO[0]} | a | 1 s |\n| {TWO[0]} |  | failed: memory / ran out |" in text
    assert f"| masks |  | failed: {NO_TIME} |" in text
    report(out, TWO, seconds=600, smallest=True, resume=True)
    again = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert [record["row"] for record in again] == [TWO[0], TWO[1], "masks"], "the rows' own order"
    assert again[0]["error"] is None and len(again[0]["measured"]) == 3
    assert again[1] == done, "what is done is not run again"


@pytest.mark.slow
def test_the_command_says_where_it_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "new" / "report.md"
    command = ["gpu_report", "--out", str(out), "--minutes", "0", "--smallest"]
    monkeypatch.setattr("sys.argv", command)
    main()
    text = out.read_text(encoding="utf-8")
    assert text.startswith("Measured on ") and "torch " in text and "smallest shapes" in text
    assert text.count(NO_TIME) == len(ROWS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is what it looks for")
def test_without_a_gpu_only_the_smallest_form_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_report"])
    with pytest.raises(SystemExit, match="add --smallest"):
        main()
