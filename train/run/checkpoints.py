"""Checkpoints that exist whole or not at all, and know what they belong to."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from stvg_r1_hub.errors import ConfigError, OutputError, first_line
from train.run.training_config import TrainingConfig

_NAME = re.compile(r"step-(\d{6,})")
STATE, WEIGHTS = "training_state.json", "trained_weights.safetensors"
MAY_DIFFER = {
    "max_steps", "epochs", "save_every", "keep_checkpoints", "trackers", "table_every",
    "validate_every", "validation_samples", "merge_adapter", "gpu_memory_gb",
    "gradient_checkpointing", "engine", "engine_folder",
}  # fmt: skip
"""Fields that a resumed run may change: they alter how long it runs, what it shows, and where."""


@contextmanager
def writing_into(out: Path) -> Iterator[None]:
    """What goes wrong while a run is written down, as one sentence.

    Raises:
        OutputError: with what the disk said, which torch and safetensors wrap in errors of theirs.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError, OutputError) as error:
        raise OutputError(
            f"Cannot write into {out}: {first_line(error)}. Is the disk full? The last checkpoint "
            "is whole; make room, then go on with --resume."
        ) from error


class Checkpoints:
    """The checkpoints of one run, in `<out>/checkpoints/step-000050`."""

    def __init__(self, folder: Path, config: TrainingConfig, accelerator: Accelerator) -> None:
        self.folder = folder
        self.config = config
        self.accelerator = accelerator
        if accelerator.distributed_type in ("NO", "MULTI_GPU", "MULTI_CPU"):
            accelerator.register_save_state_pre_hook(self._save_trained)
            accelerator.register_load_state_pre_hook(_load_trained)

    def newest(self) -> Path | None:
        """The last complete checkpoint."""
        found = [path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name)]
        return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write everything that a resumed run needs; called by every process.

        It is written into a temporary folder, put on disk, and renamed: a folder with a final
        name is complete. Then all but the newest `keep_checkpoints` go.
        """
        final = self.folder / f"step-{step:06d}"
        temporary = self.folder / f".{final.name}.partial"
        main = self.accelerator.is_main_process
        if main:
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(".step-*.partial"):
                shutil.rmtree(leftover)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(temporary), safe_serialization=True)
        self.accelerator.wait_for_everyone()
        if main:
            content = {
                "step": step,
                "config": self.config.to_dict(),
                "processes": self.accelerator.num_processes,
                **state,
            }
            (temporary / STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
            _put_on_disk(temporary)
            if final.exists():  # from a run that was resumed from before it
                shutil.rmtree(final)
            os.replace(temporary, final)
            self._forget_old()
        self.accelerator.wait_for_everyone()

    def load(self, path: Path, *, made_of: dict[str, Any]) -> dict[str, Any]:
        """Bring everything back; the state that `save` was given, with `step`.

        Args:
            path: of the checkpoint.
            made_of: what must be as `save` was given it under this name, besides the config.

        Raises:
            ConfigError: it belongs to another config, number of processes, method or data, or is
                damaged.
        """
        try:
            state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"The checkpoint {path} is damaged ({error}); delete it to resume from the one "
                "before it."
            ) from error
        self._compare(path, state)
        for name, theirs in state.get("made_of", {}).items():
            if made_of[name] != theirs:
                raise ConfigError(
                    f"The checkpoint {path} was made with {name} = {theirs!r}, now it is "
                    f"{made_of[name]!r}; go on as it was begun, or name another --out."
                )
        self.accelerator.load_state(str(path))
        return state

    def _compare(self, path: Path, state: dict[str, Any]) -> None:
        ours = {**self.config.to_dict(), "processes": self.accelerator.num_processes}
        theirs = {**state.get("config", {}), "processes": state.get("processes")}
        for name in sorted(ours.keys() | theirs.keys()):
            if name not in MAY_DIFFER and ours.get(name) != theirs.get(name):
                raise ConfigError(
                    f"The checkpoint {path} was made with {name} = {theirs.get(name)!r}, the "
                    f"config says {ours.get(name)!r}; use its config, or another --out."
                )

    def _forget_old(self) -> None:
        complete = sorted(path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name))
        for path in complete[: -self.config.keep_checkpoints]:
            shutil.rmtree(path)

    def _save_trained(self, models: list[nn.Module], weights: list[Any], folder: str) -> None:
        """Keep trained weights only: an adapter's checkpoint need not hold the base model."""
        weights.clear()
        for model in models if self.accelerator.is_main_process else ():
            trained = {
                name: weight.detach().cpu().contiguous()
                for name, weight in _bare(model).named_parameters()
                if weight.requires_grad
            }
            save_file(trained, str(Path(folder) / WEIGHTS))


def _load_trained(models: list[nn.Module], folder: str) -> None:
    path = Path(folder) / WEIGHTS
    while models:
        model = _bare(models.pop())
        stored = load_file(str(path))
        wanted = {name for name, weight in model.named_parameters() if weight.requires_grad}
        if stored.keys() != wanted:
            name = sorted(stored.keys() ^ wanted)[0]
            raise ConfigError(f"The checkpoint {folder} does not fit the model: {name} differs.")
        model.load_state_dict(stored, strict=False)


def _bare(model: nn.Module) -> nn.Module:
    """The model inside of a data-parallel wrapper."""
    inner = getattr(model, "module", model)
    return inner if isinstance(inner, nn.Module) else model


def _put_on_disk(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
