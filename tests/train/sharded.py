"""A training run whose weights are sharded by FSDP over processes on a CPU.

torch shards on a CPU as on GPUs, through gloo; accelerate alone offers it for GPUs only. So its
record of how it was launched is changed here, and everything behind it is what runs on GPUs:
`accelerate.prepare`, FSDP 2 with the shipped wrapping policy, gathering for checkpoints and export.

    python -m torch.distributed.run --nproc_per_node 2 -m tests.train.sharded --config ...
"""

import json
import os
import sys
from pathlib import Path

import accelerate.state
import yaml
from accelerate.utils import DistributedType

import train
from tests.train import runs
from train.run.command_line import run_training

CONFIG = Path(train.__path__[0]) / "configs" / "accelerate" / "fsdp.yaml"
MEASURED = "STVG_TEST_MEASURED"
"""Names the environment variable with the folder for what each process holds."""
LAUNCHED = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
"""What `accelerate launch` sets where the config says nothing."""
RENAMED = {"FSDP_TRANSFORMER_LAYER_CLS_TO_WRAP": "FSDP_TRANSFORMER_CLS_TO_WRAP"}
"""As `accelerate launch` names a setting for the processes that it starts."""


def shard_on_cpu():
    """Set what `accelerate launch --config_file fsdp.yaml` sets."""
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["fsdp_config"]
    named = {RENAMED.get(name.upper(), name.upper()): str(v) for name, v in settings.items()}
    os.environ.update({**LAUNCHED, **named})
    original, plugins = accelerate.state.AcceleratorState.__init__, []

    def init(self, *given, fsdp_plugin=None, **options):
        original(self, *given, fsdp_plugin=fsdp_plugin, **options)
        plugins.extend([fsdp_plugin] if fsdp_plugin is not None else [])
        if plugins:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugins[0]

    accelerate.state.AcceleratorState.__init__ = init


def measure(policy, accelerator):
    """Write down how many bytes this process holds when all of it is there: in an update."""
    (optimizer,) = (prepared.optimizer for prepared in accelerator._optimizers)

    def held(tensors):
        own = (t.to_local() if hasattr(t, "to_local") else t for t in tensors)
        return sum(t.numel() * t.element_size() for t in own)

    def write(*_):
        states = [v for state in optimizer.state.values() for v in state.values()]
        sizes = {
            "weights": held(policy.parameters()),
            "gradients": held(w.grad for w in policy.parameters() if w.grad is not None),
            "optimizer": held(v for v in states if v.ndim),
        }
        path = Path(os.environ[MEASURED]) / f"{accelerator.process_index}.json"
        path.write_text(json.dumps(sizes), encoding="utf-8")

    if MEASURED in os.environ:
        optimizer.register_step_post_hook(write)


def sharded_grpo(config, start, policy, accelerator):
    """GRPO for vowels, after a look at the weights."""
    kinds = {type(weight).__name__ for weight in policy.parameters()}
    assert kinds == {"DTensor"}, kinds
    measure(policy, accelerator)
    return runs.rewarding_vowels(config, start, policy, accelerator)


if __name__ == "__main__":
    shard_on_cpu()
    sys.exit(run_training(sharded_grpo, "GRPO for vowels, sharded.", None, groups=True))
