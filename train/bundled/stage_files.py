"""What a stage of training leaves and finds: processor, state, weights, log; whole or not there.

State and weights that are larger than `PIECE_BYTES` lie in pieces beside a list of them, so that a
run can be carried from machine to machine where only small files go.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save_file

from stvg_r1_hub.errors import OutputError
from stvg_r1_hub.outputs import replacing
from train.bundled.model_with_heads import TinyModelWithHeads
from train.bundled.recipes import Recipe
from train.bundled.tiny_model import build_processor

PIECE_BYTES = 16_000_000
"""No file is larger."""
_LIST = b'{"pieces": '


def run_processor(recipe: Recipe, out: Path, warm_start: Path | None = None) -> Any:
    """The run's own processor, built or taken over once and kept in `out/processor`.

    Its vocabulary follows from the world's text. Built anew for each stage, an edit of that text
    in between would give every word another number, and the weights would read nonsense.
    """
    from transformers import Qwen2_5_VLProcessor

    folder = out / "processor"
    if not folder.exists():
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / "processor.tmp"
        if recipe.keeps_vocabulary:
            if warm_start is None:
                sys.exit("This recipe goes on from a finished model; give its --warm-start folder.")
            Qwen2_5_VLProcessor.from_pretrained(warm_start).save_pretrained(temporary)
        else:
            build_processor(recipe.size).save_pretrained(temporary)
        temporary.replace(folder)
    return Qwen2_5_VLProcessor.from_pretrained(folder)


def save_state(
    path: Path, fingerprint: str, model: TinyModelWithHeads, opts: list[Any], step: int
) -> None:
    """Write all that an interrupted stage needs to go on behind `step` steps.

    Args:
        path: of the state file.
        fingerprint: of the recipe's settings; `load_state` refuses another one.
        model: the model in training.
        opts: its optimizers.
        step: how many steps are done.

    Raises:
        SystemExit: the disk is full; the last state is kept.
    """
    state = {
        "recipe": fingerprint,
        "model": model.state_dict(),
        "opts": [o.state_dict() for o in opts],
        "step": step,
    }
    with _whole_or_not(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path, fingerprint: str, model: TinyModelWithHeads, opts: list[Any]) -> int:
    """Bring back what `save_state` wrote; how many steps were done.

    Raises:
        SystemExit: the state is of other settings, or a piece of it is missing.
    """
    state = torch.load(io.BytesIO(_joined(path)), weights_only=True, map_location="cpu")
    if state["recipe"] != fingerprint:
        sys.exit(
            f"{path} was saved under other settings; start again with them, or delete the file "
            "to begin this stage anew."
        )
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(opts, state["opts"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["step"])


def cut_log(path: Path, first: int) -> None:
    """Drop the lines of steps that are going to be repeated."""
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:first]), encoding="utf-8")


def save_weights(model: TinyModelWithHeads, path: Path) -> None:
    """Write a finished stage's weights, read-outs included, without the tied output matrix.

    Raises:
        SystemExit: the disk is full; an older file is kept.
    """
    state = {
        k: v.contiguous().cpu() for k, v in model.state_dict().items() if k != "qwen.lm_head.weight"
    }
    with _whole_or_not(path) as temporary:
        save_file(state, temporary)


def load_stage(model: TinyModelWithHeads, path: Path, stage: str) -> None:
    """Load a finished stage's weights.

    Raises:
        SystemExit: they or a piece of them are missing, or they are of another model.
    """
    if not path.exists():
        sys.exit(
            f"{path} is missing; run first: "
            f"python -m train.bundled.pretrain {stage} --out {path.parent}"
        )
    state = load(_joined(path))
    state["qwen.lm_head.weight"] = state["qwen.model.language_model.embed_tokens.weight"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        sys.exit(f"{path} holds weights of another model than this recipe's: {error}")


@contextlib.contextmanager
def _whole_or_not(path: Path) -> Iterator[Path]:
    """A place to write a file that then takes its place; a full disk leaves the old file."""
    try:
        with replacing(path) as temporary:
            yield temporary
            pieces = _cut(temporary, path)
        _remove_pieces(path, but=pieces)
    except (OutputError, RuntimeError) as error:  # torch and safetensors wrap what the disk says
        kept = "the last saved one is kept" if path.exists() else "nothing was saved before"
        sys.exit(f"Could not write {path} ({error}); {kept}. Make room and start again.")


def remove(path: Path) -> None:
    """Remove a saved file with its pieces."""
    path.unlink()
    _remove_pieces(path, but=[])


def _cut(file: Path, name: Path) -> list[str]:
    """Cut a file that is too large into pieces beside `name`, and write their list in its place.

    The pieces' names follow from the content: until the list takes its place, the former list and
    its pieces are whole.
    """
    data = file.read_bytes()
    if len(data) <= PIECE_BYTES:
        return []
    digest = hashlib.sha256(data).hexdigest()
    pieces: list[str] = []
    for first in range(0, len(data), PIECE_BYTES):
        pieces.append(f"{name.name}.{digest[:12]}.{len(pieces):02d}")
        with replacing(name.with_name(pieces[-1])) as temporary:
            temporary.write_bytes(data[first : first + PIECE_BYTES])
    file.write_text(json.dumps({"pieces": pieces, "sha256": digest}), encoding="utf-8")
    return pieces


def _joined(path: Path) -> bytes:
    """The content of a saved file, from its pieces where it was cut."""
    data = path.read_bytes()
    if not data.startswith(_LIST):
        return data
    listed = json.loads(data)
    pieces = [path.with_name(name) for name in listed["pieces"]]
    missing = [piece.name for piece in pieces if not piece.exists()]
    if missing:
        sys.exit(
            f"{path} lies in {len(pieces)} pieces; {missing[0]} is missing: copy it there too."
        )
    data = b"".join(piece.read_bytes() for piece in pieces)
    if hashlib.sha256(data).hexdigest() != listed["sha256"]:
        sys.exit(f"The pieces of {path} are damaged: copy all {len(pieces)} of them again.")
    return data


def _remove_pieces(path: Path, *, but: list[str]) -> None:
    for piece in path.parent.glob(f"{path.name}.*.[0-9][0-9]"):
        if piece.name not in but:
            piece.unlink()
