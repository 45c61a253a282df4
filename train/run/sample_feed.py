"""Which samples a process reads at a step, and whether they are fit to be read at all."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stvg_r1_hub.config import STVGConfig
from stvg_r1_hub.errors import ConfigError, STVGError
from train.data.samples import SampleSource, TrainingSample, sample_order
from train.grpo.rollout import TrainingError
from train.run.training_config import TrainingConfig

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class SampleFeed:
    """The share of one process in an endless shuffled reading."""

    samples: SampleSource
    config: TrainingConfig
    rank: int
    processes: int
    unreadable: int = 0
    """Samples that could not be read so far."""

    def read(self, step: int) -> tuple[list[TrainingSample], list[int]]:
        """The samples of a step, with their places in the endless reading.

        Raises:
            TrainingError: none can be read.
        """
        count = self.config.accumulation
        first = (step * self.processes + self.rank) * count
        order = sample_order(len(self.samples), self.config.seed, first, count)
        return [self._readable(self.samples, i) for i in order], list(range(first, first + count))

    def held_out(self, validation: SampleSource) -> Iterator[list[TrainingSample]]:
        """This process's part of the first held-out samples, in batches.

        Every process gets as many, because they gather sharded weights together.
        """
        most, size = min(len(validation), self.config.validation_samples), self.config.accumulation
        count = max(1, most // self.processes)
        places = [(self.rank * count + i) % len(validation) for i in range(count)]
        for i in range(0, count, size):
            yield [self._readable(validation, place) for place in places[i : i + size]]

    def _readable(self, samples: SampleSource, index: int) -> TrainingSample:
        """A sample, or the next one where it cannot be read: a step needs all its samples."""
        total = len(samples)
        for place in (*range(index, total), *range(index)):
            try:
                return samples[place]
            except STVGError as error:
                self.unreadable += 1
                name = samples.sample_ids[place]
                _log.warning("Sample %s is set aside and the next one taken: %s", name, error)
        raise TrainingError(
            f"None of the {total} samples of {samples.title} can be read; make them anew with "
            "train.prepare --retry-failed."
        )


def check_held_out(samples: SampleSource, validation: SampleSource) -> None:
    """Whether no held-out sample is trained on.

    Raises:
        ConfigError: names one that is.
    """
    known = set(samples.sample_ids)
    shared = [name for name in validation.sample_ids if name in known]
    if shared:
        raise ConfigError(
            f"{len(shared)} of the {len(validation)} validation samples ({validation.title}) are "
            f"trained on too, the first is {shared[0]!r}; leave them out of one of both."
        )


def check_settings(
    samples: SampleSource, wanted: STVGConfig, model: str, *, teaches_prompt: bool
) -> None:
    """Whether frames and prompts are as the start model's settings say.

    The settings are written beside the trained weights, so both must agree.

    Args:
        samples: to be read.
        wanted: the start model's settings.
        model: its name.
        teaches_prompt: supervised training may teach another prompt; it then travels with the
            weights.

    Raises:
        ConfigError: names a setting that differs.
    """
    for name in ("sampling", "marker") if teaches_prompt else ("sampling", "marker", "prompt_id"):
        ours, theirs = (
            _flat(name, getattr(samples.config, name)),
            _flat(name, getattr(wanted, name)),
        )
        for field, value in ours.items():
            if theirs[field] != value:
                raise ConfigError(
                    f"The samples were prepared with {field} = {value!r}, but {model} wants "
                    f"{theirs[field]!r}; prepare them with --model {model}."
                )


def _flat(name: str, value: Any) -> dict[str, Any]:
    """A setting, or those of a section, by name."""
    if not dataclasses.is_dataclass(value):
        return {name: value}
    return {f"{name}.{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)}
