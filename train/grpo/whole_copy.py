"""Whole weights out of those that are spread over processes.

A completion grows token by token, and each pass of a sharded model would gather every layer anew.
So each process has one plain copy of the model beside its shards. Once a step the policy's weights
are gathered into it, and completions come from it without a word between processes. Then the
weights that training started from, of which each process keeps a share too, take their place, and
it is the reference. That asks nothing of FSDP or DeepSpeed but to hand out a whole weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from train.grpo.policy import Policy


class WholeCopy:
    """A plain model that takes the weights of a sharded one, or those it started from."""

    @torch.no_grad()
    def __init__(self, model: Policy, sharded: Policy, *, keep_start: bool) -> None:
        """Take over a model; every process does it at once, as with the other methods.

        Args:
            model: the start model, whole and on the device of this process.
            sharded: the policy, whose parameters FSDP 2 or ZeRO-3 has spread.
            keep_start: whether `take_start` will be asked for.
        """
        self.model = model.eval().requires_grad_(False)
        self.trained = {name: w for name, w in sharded.named_parameters() if w.requires_grad}
        self.start: dict[str, Tensor] = {}
        if keep_start:
            device = next(model.parameters()).device.type
            mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
            for name in self.trained:
                whole = model.get_parameter(name).detach()
                # A copy of the share: what it was cut from is overwritten in every step.
                self.start[name] = distribute_tensor(
                    whole, mesh, [Shard(0)], src_data_rank=None
                ).clone()

    def take_policy(self) -> None:
        """Become the policy as it is now."""
        self._take(self.trained)

    def take_start(self) -> None:
        """Become what training started from."""
        self._take(self.start)

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            mine = self.model.get_parameter(name)
            if isinstance(weight, DTensor):
                share: Any = weight.detach().to(mine.dtype)
                mine.copy_(share.full_tensor())
            else:
                from deepspeed import zero  # type: ignore[import-not-found]

                with zero.GatheredParameters([weight]):
                    mine.copy_(weight)
