"""A training run whose weights are spread over processes on a CPU, by FSDP 2 or by DeepSpeed.

torch shards on a CPU as on GPUs, through gloo, and so does ZeRO-3; accelerate alone offers both for
GPUs only. So its record of how it was launched is changed here, and everything behind it is what
runs on GPUs: `accelerate.prepare`, the shipped settings, gathering for rollouts, checkpoints and
export. Run by `tests.train.runs.launched`.
"""

import collections
import contextlib
import functools
import importlib
import json
import os
import types
from pathlib import Path

import accelerate.state
import yaml
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from torch.distributed.tensor.debug import CommDebugMode

import train
from tests.train import runs
from train.run import loop
from train.run.command_line import run_training

CONFIGS = Path(train.__path__[0]) / "configs" / "accelerate"
MEASURED = "STVG_TEST_MEASURED"
"""Names the environment variable with the folder for what each process holds."""
BY = "SHARDED_BY"
"""Names the environment variable with the settings' name, `fsdp` or `zero3_offload`."""
LAUNCHED = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
"""What `accelerate launch` sets where the config says nothing."""
RENAMED = {
    "FSDP_TRANSFORMER_LAYER_CLS_TO_WRAP": "FSDP_TRANSFORMER_CLS_TO_WRAP",
    "ZERO3_INIT_FLAG": "ZERO3_INIT",
}
"""As `accelerate launch` names a setting for the processes that it starts."""


def shard_on_cpu():
    """Set what `accelerate launch --config_file fsdp.yaml` sets."""
    settings = yaml.safe_load((CONFIGS / "fsdp.yaml").read_text(encoding="utf-8"))["fsdp_config"]
    named = {RENAMED.get(name.upper(), name.upper()): str(v) for name, v in settings.items()}
    os.environ.update({**LAUNCHED, **named})
    original, plugins = accelerate.state.AcceleratorState.__init__, []

    def init(self, *given, fsdp_plugin=None, **options):
        original(self, *given, fsdp_plugin=fsdp_plugin, **options)
        plugins.extend([fsdp_plugin] if fsdp_plugin is not None else [])
        if plugins:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugins[0]

    accelerate.state.AcceleratorState.__init__ = init


def deepspeed_on_cpu():
    """Set what `accelerate launch --config_file zero3_offload.yaml` sets, without offload.

    What is offloaded lies in host memory, as all of it does here.
    """
    path = CONFIGS / "zero3_offload.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))["deepspeed_config"]
    settings.update(offload_optimizer_device="none", offload_param_device="none")
    named = {
        f"ACCELERATE_DEEPSPEED_{RENAMED.get(name.upper(), name.upper())}": str(v)
        for name, v in settings.items()
    }
    os.environ.update({"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu", **named})
    # Quicker sums within one machine, which would be compiled first, for minutes.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    original = accelerate.state.PartialState._prepare_backend

    def backend(self, *given, **options):
        original(self, *given, **options)
        return "gloo", DistributedType.MULTI_CPU

    accelerate.state.PartialState._prepare_backend = backend
    loop.Accelerator = functools.partial(on_gloo, loop.Accelerator)


def on_gloo(accelerator, *, cpu, kwargs_handlers, **options):
    """An accelerator that was not told of the CPU, where it would leave DeepSpeed aside."""
    handlers = [*kwargs_handlers, InitProcessGroupKwargs(backend="gloo")]
    made = accelerator(kwargs_handlers=handlers, **options)
    # Small weights would be left whole, and all are small here.
    spread = made.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
    spread["stage3_param_persistence_threshold"] = 0
    return made


def held(tensors):
    """Bytes of this process's own parts."""
    own = (t.to_local() if hasattr(t, "to_local") else t for t in tensors if t is not None)
    return sum(t.numel() * t.element_size() for t in own)


def measure(policy, accelerator):
    """Write down how many bytes this process holds when all of it is there: in an update."""
    (optimizer,) = (prepared.optimizer for prepared in accelerator._optimizers)

    def write(*_):
        states = [v for state in torch_optimizer.state.values() for v in state.values() if v.ndim]
        sizes = {"weights": weights(), "gradients": gradients(), "optimizer": held(states)}
        if by_deepspeed:
            sizes["optimizer"] += held(optimizer.fp32_partitioned_groups_flat)
        path = Path(os.environ[MEASURED]) / f"{accelerator.process_index}.json"
        path.write_text(json.dumps(sizes), encoding="utf-8")

    by_deepspeed = os.environ[BY] == "zero3_offload"
    torch_optimizer = optimizer.optimizer if by_deepspeed else optimizer
    parameters = list(policy.parameters())

    def weights():
        return held(w.ds_tensor if by_deepspeed else w for w in parameters)

    def gradients():
        if not by_deepspeed:
            return held(w.grad for w in parameters)
        return held(w.grad for w in optimizer.fp32_partitioned_groups_flat)

    torch_optimizer.register_step_post_hook(write)


GATHERING = ("allgather_fn", "all_gather_into_tensor", "all_gather")


@contextlib.contextmanager
def gathers_of_deepspeed():
    """Counts as torch's mode does, under which ZeRO-3 hands out no whole weights."""
    communication, counts = importlib.import_module("deepspeed.comm"), collections.Counter()
    originals = {name: getattr(communication, name) for name in GATHERING}

    def counting(name):
        def gather(*given, **options):
            counts[name] += 1
            return originals[name](*given, **options)

        return gather

    for name in GATHERING:
        setattr(communication, name, counting(name))
    try:
        yield types.SimpleNamespace(get_comm_counts=lambda: counts)
    finally:
        for name, original in originals.items():
            setattr(communication, name, original)


def sharded_grpo(config, start, policy, accelerator):
    """GRPO for vowels, after a look at the weights; says what is gathered for rollouts."""
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    assert all(hasattr(w, "ds_id") or type(w).__name__ == "DTensor" for w in weights)
    measure(policy, accelerator)
    objective = runs.rewarding_vowels(config, start, policy, accelerator)
    prepare = objective.prepare

    def counted(*given):
        with CommDebugMode() if os.environ[BY] == "fsdp" else gathers_of_deepspeed() as counter:
            items = prepare(*given)
        found = {str(op): n for op, n in counter.get_comm_counts().items()}
        gathered = sum(n for op, n in found.items() if "all" in op and "gather" in op)
        path = Path(os.environ[MEASURED]) / f"gathered-{accelerator.process_index}.jsonl"
        with path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([gathered, len(weights), found]) + "\n")
        return items

    objective.prepare = counted
    return objective


def main(arguments):
    """The command line of `train.train_grpo`, sharded and with a reward for vowels."""
    {"fsdp": shard_on_cpu, "zero3_offload": deepspeed_on_cpu}[os.environ[BY]]()
    return run_training(lambda: sharded_grpo, "GRPO for vowels, sharded.", arguments, groups=True)
