"""Short training runs with the smallest model."""

import json
import multiprocessing
import os
import signal

import yaml
from accelerate.state import AcceleratorState, GradientState
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from stvg_r1_hub.config import STVGConfig
from tests.train import tiny
from train.grpo.learning import GrpoObjective
from train.rewards import REWARDS
from train.run.command_line import run_training

SETTINGS = {
    "dtype": "float32",
    "gradient_checkpointing": False,
    "num_generations": 4,
    "max_completion_tokens": 8,
    "learning_rate": 1e-3,
    "max_steps": 6,
    "save_every": 2,
    "trackers": [],
}


def vowels(completion, truth):
    """A reward that random text can earn, so that short runs have something to learn."""
    return sum(completion.text.lower().count(letter) for letter in "aeiou") / 8


def characters(completion, truth):
    """A reward that any text earns, also the most probable one of a model that knows nothing."""
    return len(completion.text) / 50


def rewarding_vowels(*parts, **rewards):
    """GRPO with the rewards above in place of `tiou` and `ids_f1`, and others by name."""
    stand_ins = {"tiou": vowels, "ids_f1": characters}
    return GrpoObjective(*parts, rewards={**REWARDS, **stand_ins, **rewards})


def main(arguments=None):
    """The command line of `train.train_grpo` with that reward."""
    return run_training(lambda: rewarding_vowels, "GRPO for vowels.", arguments, groups=True)


def write_base(folder, *, seed=0):
    """A start model as a folder that loads."""
    tiny.model(seed=seed).save_pretrained(folder)
    tiny.processor().save_pretrained(folder)
    config = STVGConfig.load(tiny.BUNDLE).to_dict()
    config["tracking"]["detector"] = "auto"
    STVGConfig.from_dict(config).save(folder)
    return folder


def write_config(path, base, **changes):
    """A config file of a short run."""
    values = {**SETTINGS, "model": str(base), **changes}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def forget_launch():
    """Accelerate keeps one state a process; each run wants its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def metrics(out):
    """The lines of a run's metrics, without what no two runs share."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    own = ("seconds", "tokens_per_second", "memory")
    return [{k: v for k, v in line.items() if not k.startswith(own)} for line in lines]


FORKS = multiprocessing.get_context("forkserver")
"""Processes that find all of this imported, which takes longer than a short run."""
FORKS.set_forkserver_preload(
    ["tests.train.sharded", "peft", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
     "transformers.models.qwen2_5_vl.processing_qwen2_5_vl"]
)  # fmt: skip


def launched(main, *arguments, **environment):
    """Two processes of a training, started by torch's launcher; until they end well."""
    config = LaunchConfig(
        1, 1, 2, rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="forkserver",
        monitor_interval=0.1, max_restarts=0,
    )  # fmt: skip
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        codes = elastic_launch(config, _run)(main, [*map(str, arguments)], environment)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert codes == {0: 0, 1: 0}


def _run(main, arguments, environment):
    os.environ.update(environment)
    return main(arguments)
