"""What importing the package may load, and what its records say of themselves."""

import subprocess
import sys

HEAVY = (
    "torch",
    "torchvision",
    "transformers",
    "cv2",
    "onnxruntime",
    "gradio",
    "matplotlib",
    "av",
    "scipy",
    "trackers",
    "PIL",
)


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*{HEAVY!r} & sys.modules.keys())"
    script = script.replace(f"{HEAVY!r} & sys", f"set({HEAVY!r}) & sys")
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_by("import stvg_r1_hub") == set()


def test_public_names_load_nothing_heavy() -> None:
    code = "from stvg_r1_hub import GroundingResult, STVGConfig, STVGPipeline, example_video"
    assert loaded_by(code) == set()


def test_command_line_parser_loads_nothing_heavy() -> None:
    assert loaded_by("import stvg_r1_hub.cli.parser as c; c._parser()") == set()


def test_the_check_can_fail() -> None:
    assert loaded_by("import matplotlib") >= {"matplotlib"}


def test_every_public_name_exists() -> None:
    import stvg_r1_hub

    assert dir(stvg_r1_hub) == sorted(stvg_r1_hub.__all__)  # What a keyboard completes.
    for name in stvg_r1_hub.__all__:
        assert getattr(stvg_r1_hub, name) is not None
