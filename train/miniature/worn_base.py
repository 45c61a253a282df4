"""A base to train from, made in a second: the bundled model with noise on its decoder.

    python -m train.miniature.worn_base --noise 0.5 --out runs/worn

It still sees, lists and answers in the taught form, and is wrong more often. Its frames have 140
pixels a side, not the 196 that its weights know best, which takes half the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from stvg_r1_hub import hub
from stvg_r1_hub.errors import ConfigError, STVGError
from train.bundled.sizes import SMALL, bundle_config


def write_worn_base(model: str, noise: float, out: Path) -> None:
    """Copy a model's folder with noise on every matrix of its decoder's layers.

    Args:
        model: the bundled model, or one trained like it.
        noise: standard deviation of the noise, as a share of that of the matrix.
        out: folder, must not exist.

    Raises:
        ConfigError: `out` exists, or the noise is negative.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; name another --out.")
    if noise < 0:
        raise ConfigError(f"Got noise {noise}; it must be 0 or above.")
    folder = Path(hub.load_bundle(model).folder)
    shutil.copytree(folder, out)
    generator = torch.Generator().manual_seed(0)
    weights = load_file(out / "model.safetensors")
    for name, weight in weights.items():
        if name.startswith("model.layers.") and weight.ndim == 2:
            values = weight.float()
            drawn = torch.randn(values.shape, generator=generator)
            weights[name] = (values + noise * values.std() * drawn).to(weight.dtype)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    settings = json.dumps(bundle_config(SMALL).to_dict(), indent=2)
    (out / "stvg_config.json").write_text(settings + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--noise", type=float, default=0.5, help="share of a matrix's own spread")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        write_worn_base(options.model, options.noise, options.out)
    except STVGError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
