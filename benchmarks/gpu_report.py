"""The first thing to run on a machine with a GPU: a table of what it does, within some minutes.

    python -m benchmarks.gpu_report --minutes 8 --out report.md
    python -m benchmarks.gpu_report --minutes 8 --out report.md --resume    # goes on where it ended
    python -m benchmarks.gpu_report --smallest --out report.md    # tiny shapes, also on a CPU

Every row of `benchmarks.gpu_rows` runs in a process of its own and is written down as soon as it
has ended, beside the table in a `.jsonl` file, with its error where it failed: what one row breaks
does not reach the next. Weights are random and nothing is downloaded: only time is measured.
`--resume` keeps what is done and tries again what failed or had no time left.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_rows import ROWS

NO_TIME = "no time was left; go on with --resume"
_LEAST_SECONDS = 15
"""A row is not started with less: its process needs as long to begin."""


def run_row(name: str, smallest: bool, seconds: float) -> dict[str, Any]:
    """What a row measured, in a process of its own that is ended after so many seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu_report", "--row", name]
    started = time.monotonic()
    error = None
    try:
        done = subprocess.run(
            [*command, "--smallest"] if smallest else command,
            capture_output=True,
            timeout=seconds,
            cwd=Path(__file__).parent.parent,
        )
        said = done.stdout
        if done.returncode:
            text = done.stderr.decode(errors="replace").strip()
            error = text.splitlines()[-1][:300] if text else f"it ended with {done.returncode}"
    except subprocess.TimeoutExpired as late:
        said, error = late.stdout or b"", f"ended after {seconds:.0f} s; {NO_TIME}"
    measured = [json.loads(line) for line in said.decode().splitlines() if line.startswith("[")]
    took = round(time.monotonic() - started, 1)
    return {"row": name, "measured": measured, "error": error, "seconds": took}


def table(records: list[dict[str, Any]], smallest: bool) -> str:
    """The rows as Markdown, with the card and the versions above them."""
    lines = [f"Measured on {machine()}.", ""]
    if smallest:
        lines += ["At the smallest shapes, which say only that every row runs.", ""]
    lines += ["| row | what | figure |", "|---|---|---|"]
    for record in records:
        error = [["", f"failed: {record['error']}"]] if record["error"] else []
        for what, figure in record["measured"] + error:
            cells = (str(cell).replace("|", "/") for cell in (record["row"], what, figure))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """The card, its driver's CUDA, and the versions that the figures depend on."""
    import torch

    names = ("torch", "transformers", "onnxruntime", "stvg-r1-hub")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    card = f"a CPU ({platform.machine()})"
    if torch.cuda.is_available():
        gigabytes = torch.cuda.get_device_properties(0).total_memory / 1e9
        card = f"{torch.cuda.get_device_name()}, {gigabytes:.0f} GB, CUDA {torch.version.cuda}"
    return f"{card}; Python {platform.python_version()}, {versions}; {time.strftime('%Y-%m-%d')}"


def report(out: Path, names: list[str], *, seconds: float, smallest: bool, resume: bool) -> None:
    """Run rows one after the other and write the table anew after each."""
    kept_path = out.with_suffix(".jsonl")
    kept: dict[str, dict[str, Any]] = {}
    if resume and kept_path.exists():
        lines = kept_path.read_text(encoding="utf-8").splitlines()
        kept = {record["row"]: record for record in map(json.loads, lines)}
    end = time.monotonic() + seconds
    for name in names:
        if name in kept and not kept[name]["error"]:
            continue
        left = end - time.monotonic()
        if left >= _LEAST_SECONDS:
            print(f"{name} ...", flush=True)
            kept[name] = run_row(name, smallest, left)
        elif name not in kept:
            kept[name] = {"row": name, "measured": [], "error": NO_TIME, "seconds": 0}
        records = [kept[row] for row in ROWS if row in kept]
        out.parent.mkdir(parents=True, exist_ok=True)
        kept_path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        out.write_text(table(records, smallest), encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8, help="for all rows together")
    parser.add_argument("--out", type=Path, default=Path("gpu_report.md"))
    parser.add_argument("--resume", action="store_true", help="keep the rows that are done")
    parser.add_argument("--smallest", action="store_true", help="tiny shapes, also on a CPU")
    parser.add_argument("--only", nargs="+", choices=list(ROWS), help="these rows alone")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.smallest:
        sys.exit("No CUDA device was found; on a CPU add --smallest, which runs at tiny shapes.")
    if options.row:
        for line in ROWS[options.row](device, options.smallest):
            print(json.dumps(line), flush=True)
        return
    report(
        options.out,
        options.only or list(ROWS),
        seconds=options.minutes * 60,
        smallest=options.smallest,
        resume=options.resume,
    )


if __name__ == "__main__":
    main()
