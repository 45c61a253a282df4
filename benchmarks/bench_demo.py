"""Import time, and time and peak memory of `stvg demo`, each in a fresh process.

    python -m benchmarks.bench_demo

Prints a table with the wanted figures beside the measured ones.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

try:
    import resource
except ImportError:
    sys.exit("This benchmark reads peak memory with the 'resource' module, which Windows lacks.")

IMPORT = "import time; t = time.perf_counter(); import stvg_r1_hub; print(time.perf_counter() - t)"
RUNS = 3


def run(*command: str) -> tuple[float, str]:
    """Wall seconds and output of a command that must succeed."""
    started = time.perf_counter()
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
    return time.perf_counter() - started, result.stdout


def processor_seconds() -> float:
    """Of all children so far; unlike wall time it hardly changes while others work."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args()
    imports = [float(run("-c", IMPORT)[1]) for _ in range(RUNS)]
    before = processor_seconds()
    walls = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            walls.append(run("-m", "stvg_r1_hub.cli", "demo", "--out", folder)[0])
    processor = (processor_seconds() - before) / RUNS
    # The largest child so far; the imports above are far smaller than the demo. In kB on Linux.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    print(f"| what ({RUNS} runs) | median | wanted |")
    print("|---|---|---|")
    print(f"| import stvg_r1_hub | {statistics.median(imports):.3f} s | <= 0.5 s |")
    print(f"| stvg demo, wall | {statistics.median(walls):.1f} s | <= 15 s |")
    print(f"| stvg demo, processor seconds, mean | {processor:.1f} s | |")
    print(f"| stvg demo, peak memory | {peak_bytes / 1e9:.2f} GB | <= 2 GB |")


if __name__ == "__main__":
    main()
