"""Every command and every piece of Python in the documents is one that works.

All are checked without running them: options exist, modules start, names can be imported. What
needs neither a download nor a server is also run, in one folder and in each document's order.
"""

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import stvg_r1_hub
from stvg_r1_hub import GroundingResult, STVGPipeline
from stvg_r1_hub.cli import main
from stvg_r1_hub.cli import parser as cli
from stvg_r1_hub.clip import Clip
from tests.evaluation import layouts

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path
    for pattern in ("*.md", "train/**/*.md", "docs/**/*.md", "examples/**/*.md")
    for path in sorted(ROOT.glob(pattern))
]
SCRIPTS = [
    path for folder in ("benchmarks", "train") for path in sorted(ROOT.glob(f"{folder}/*.py"))
]
PROGRAMS = ("stvg", "python", "pip", "make", "accelerate")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
NAMED = {"STVGPipeline": STVGPipeline, "pipeline": STVGPipeline, "clip": Clip,
         "result": GroundingResult}  # fmt: skip
NOT_RUN = {
    r"^(?!stvg )": "installs, trains or measures",
    r"^stvg app": "serves until it is stopped; tests/web asks the page",
    r"^stvg demo": "tests/cli runs it, and looks at what it finds",
    r"--server|--masks|XiaowenZhang/|--hub-dataset": "needs a server or a download",
    r"\.\.\.|…": "leaves something out",
}


@dataclass(frozen=True)
class Command:
    """A command line as it is documented."""

    where: str
    text: str
    in_block: bool

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to the reader, as `[--option]` or `...` does."""
        return self.in_block and not re.search(r"\.\.\.|…|\[-", self.text)


def commands_of(path: Path) -> Iterator[Command]:
    text, where = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        yield from (Command(where, line, False) for line in lines if is_command(line))
        return
    for _, body in BLOCK.findall(text):
        for line in body.replace("\\\n", " ").splitlines():
            if is_command(line.strip()):
                yield Command(where, line.strip(), True)
    for span in SPAN.findall(BLOCK.sub("", text)):
        line = " ".join(span.split())
        if is_command(line):
            yield Command(where, line, False)


def is_command(line: str) -> bool:
    return line.split(" ")[0] in PROGRAMS and " " in line


EVERY = [command for path in (*DOCUMENTS, *SCRIPTS) for command in commands_of(path)]
COMMANDS = list({command.text: command for command in reversed(EVERY)}.values())[::-1]
BLOCKS = [
    (str(path.relative_to(ROOT)), body)
    for path in DOCUMENTS
    for language, body in BLOCK.findall(path.read_text(encoding="utf-8"))
    if language == "python"
]
CALLS = [
    (str(path.relative_to(ROOT)), " ".join(span.split()))
    for path in DOCUMENTS
    for span in SPAN.findall(BLOCK.sub("", path.read_text(encoding="utf-8")))
    if re.match(r"(pipeline|clip|result|STVGPipeline)[.(].*\)$", span, re.DOTALL)
    and "…" not in span
]


def test_something_is_found() -> None:
    programs = {command.text.split(" ")[0] for command in COMMANDS}
    assert programs == set(PROGRAMS) and len(COMMANDS) > 30 and BLOCKS and CALLS


def options_of(words: list[str]) -> list[str]:
    found = (re.match(r"\[?(--[a-z][\w-]*)", word) for word in words)
    return [match[1] for match in found if match]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.where}: {c.text}"[:90])
def test_a_documented_command_is_understood(command: Command) -> None:
    program, *words = command.words
    if program == "accelerate":
        words = words[words.index("-m") :] if "-m" in words else []
        if words[1:2] == ["stvg_r1_hub.cli"]:
            program, words = "stvg", words[2:]
    if program == "stvg":
        check_stvg(words, whole=command.is_whole)
    elif words[:1] == ["-m"]:
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))
        started = help_of("-m", words[1])
        assert not [o for o in options_of(words) if o not in started], f"{words[1]} has no such"
    elif program == "python" and words[0].endswith(".py"):
        assert set(options_of(words)) <= set(re.findall(r"--[a-z][\w-]*", help_of(words[0])))
    elif program == "pip":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extras in re.findall(r"(?:\.|stvg-r1-hub)\[([\w,-]+)\]", command.text):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{re.escape(words[0])}:", makefile, re.MULTILINE)


def check_stvg(words: list[str], *, whole: bool) -> None:
    if whole:
        cli._parser().parse_args(words)
        return
    parser = cli._parser()
    for word in words:
        parser = subcommands_of(parser).get(word, parser)
    assert set(options_of(words)) <= all_options(parser)


def subcommands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: sub for action in actions for name, sub in action.choices.items()}


def all_options(parser: argparse.ArgumentParser) -> set[str]:
    """Those of a command and of everything below it."""
    below = (all_options(sub) for sub in subcommands_of(parser).values())
    return set(parser._option_string_actions).union(*below)


_HELP: dict[tuple[str, ...], str] = {}


def help_of(*program: str) -> str:
    """What a program says to `--help`.

    The first of each folder is started as documented, in the clone and with nothing prepared. That
    takes seconds: the others run in this process.
    """
    folder = program[-1].split(".")[0]
    if program in _HELP:
        return _HELP[program]
    if program[0] == "-m" and any(known[-1].startswith(f"{folder}.") for known in _HELP):
        _HELP[program] = help_here(program[-1])
    else:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, *program, "--help"], cwd=ROOT, env=environment, text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        _HELP[program] = done.stdout
    return _HELP[program]


def help_here(module: str) -> str:
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [module, "--help"])
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            assert not end.code
    return printed.getvalue()


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda p: p.stem)
def test_every_benchmark_starts(script: Path) -> None:
    if "__main__" in script.read_text(encoding="utf-8"):
        assert "usage:" in help_of("-m", f"benchmarks.{script.stem}")


@pytest.mark.parametrize(("where", "code"), [*BLOCKS, *CALLS], ids=lambda text: text[:60])
def test_documented_python_names_what_exists(where: str, code: str) -> None:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stvg_r1_hub"):
            module = importlib.import_module(node.module or "")
            assert not [a.name for a in node.names if not hasattr(module, a.name)]
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            owner = NAMED.get(called.value.id)
            function = owner and getattr(owner, called.attr)
        else:
            owner = NAMED.get(called.id) if isinstance(called, ast.Name) else None
            function = owner and owner.__call__
        if function is not None:
            known = inspect.signature(function).parameters
            assert {keyword.arg for keyword in node.keywords} <= known.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents' commands are about, under the names that they use."""
    folder = tmp_path_factory.mktemp("documents")
    package = Path(stvg_r1_hub.__file__).parent
    for name in ("clip.mp4", "another.mp4"):
        shutil.copy(package / "bundled/demo/clip.mp4", folder / name)
    for name in ("me/my-model", "my-model"):
        shutil.copytree(package / "bundled/tiny", folder / name)
    scenes = layouts.write_videos(folder / "videos", 1)
    layouts.write_json(folder / "val_v2.json", layouts.hcstvg(scenes))
    return folder


def runs_here(command: Command) -> bool:
    return command.is_whole and not any(re.search(p, command.text) for p in NOT_RUN)


def script_of(document: Path) -> str:
    """Its blocks as one shell script, of two clips where it says hundreds; or nothing to run."""
    lines: list[str] = []
    for body in (
        body for lang, body in BLOCK.findall(document.read_text("utf-8")) if lang == "bash"
    ):
        for line in body.replace("\\\n", " ").splitlines():
            if re.match(r"\w+=", line):
                lines.append(line)
            elif is_command(line) and runs_here(Command(document.name, line, True)):
                lines.append(re.sub(r"--n \d+", "--n 2", line))
    return "\n".join(lines)


RUN = [document for document in DOCUMENTS if script_of(document)]


def test_the_documents_that_show_most_are_run() -> None:
    assert {"README.md", "evaluation.md"} <= {document.name for document in RUN}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the commands are for a shell")
@pytest.mark.parametrize("document", RUN, ids=lambda document: document.stem)
def test_the_commands_of_a_document_run(
    document: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell makes words of them; they run in this process, which has everything imported."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    stvg = r"""stvg() { printf '%s\0' "$@" $'\n'; }"""
    done = subprocess.run(
        ["bash", "-c", f"set -e\n{stvg}\n{script_of(document)}"], cwd=folder, text=True,
        capture_output=True, timeout=300, check=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    monkeypatch.chdir(folder)
    for command in done.stdout.split("\n\0")[:-1]:
        words = command.split("\0")[:-1]
        if "--compare" in words:
            shutil.copytree("runs/a", "runs/b")
        assert main(words) == 0, words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "code"),
    [block for block in BLOCKS if '"tiny")' in block[1]],
    ids=[where for where, code in BLOCKS if '"tiny")' in code],
)
def test_the_python_of_a_document_runs(
    where: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, where, "exec"), {"__name__": "document"})
