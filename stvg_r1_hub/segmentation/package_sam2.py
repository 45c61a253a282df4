"""SAM 2.1 through Meta's own package `sam2`, streamed, for those who have it installed.

Same interface, same weights and same stored masks as `transformers_sam2`, and built the same way:
one state an object, the picture encoded once for all, memory cut to what the model reads. The
package's own readers of videos are not used; it is given frames. From boxes the masks of the two
are equal; from a mask their edges differ, because the package remembers a given mask at a quarter
of its size and transformers in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.device import half_precision
from stvg_r1_hub.errors import ModelError, first_line, require_package
from stvg_r1_hub.hub import HubAccess
from stvg_r1_hub.mask_session import Mask
from stvg_r1_hub.structures import Pixels

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ONLY = 1


class PackageSam2:
    """A `SAM2VideoPredictor` of the sam2 package; build one with `from_pretrained`."""

    def __init__(self, predictor: Any, *, name: str = "sam2-package") -> None:
        """Wrap a predictor; `name` is for messages."""
        self.name = name
        self.predictor = predictor.eval()

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str = "facebook/sam2.1-hiera-large",
        *,
        device: str = "cpu",
        access: HubAccess = HubAccess(),
    ) -> PackageSam2:
        """Load one of Meta's checkpoints.

        Their `.pt` file is read by torch's weights-only reader, which runs no code of it.

        Args:
            repo_id: such as `"facebook/sam2.1-hiera-large"`.
            device: a torch device.
            access: how the Hub is asked.

        Raises:
            MissingPackageError: sam2 is not installed.
            ModelError: not one of Meta's checkpoints, or out of reach.
        """
        builders: Any = require_package("sam2.build_sam", "sam2")
        files = builders.HF_MODEL_ID_TO_FILENAMES
        if repo_id not in files:
            raise ModelError(
                f"The sam2 package has no model {repo_id!r}; choose one of {', '.join(files)}."
            )
        from huggingface_hub import hf_hub_download

        config, checkpoint = files[repo_id]
        try:
            path = hf_hub_download(repo_id, checkpoint, **access.options())
            predictor = builders.build_sam2_video_predictor(config, path, device=device)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"Cannot load {repo_id} for the sam2 package: {first_line(error)}."
            ) from error
        if not device.startswith("cuda"):
            predictor.fill_hole_area = 0  # Its hole filling is a CUDA kernel.
        return cls(predictor, name=repo_id)

    def open(self, height: int, width: int, n_frames: int) -> _Session:
        """A session for one video of at most `n_frames` frames of this size."""
        return _Session(self.predictor, height, width, n_frames)


class _Session:
    """See `mask_session.MaskSession`."""

    def __init__(self, predictor: Any, height: int, width: int, n_frames: int) -> None:
        self.frame_steps = 0
        self._predictor = predictor
        self._size = (height, width)
        self._n_frames = n_frames
        self._frame = -1
        self._features: dict[int, Any] = {}
        self._constants: dict[str, Any] = {}
        self._states: dict[int, dict[str, Any]] = {}

    def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
        import torch

        self._frame += 1
        with torch.inference_mode(), self._precision():
            image = self._prepared(pixels)
            self._features = {self._frame: (image, self._predictor.forward_image(image))}
            masks = {}
            for object_id, state in self._states.items():
                masks[object_id] = self._follow(state)
                self.frame_steps += 1
        return masks

    def masks_of_boxes(
        self, boxes: NDArray[np.float32] | Sequence[NDArray[np.float32]]
    ) -> list[Mask]:
        return [self._prompt(self._new_state(), box, None) for box in boxes]

    def add(
        self, object_id: int, *, box: NDArray[np.float32] | None = None, mask: Mask | None = None
    ) -> Mask:
        if (box is None) == (mask is None):
            raise ValueError("give an object's box or its mask, and not both")
        state = self._new_state()
        found = self._prompt(state, box, mask)
        with self._precision():
            self._predictor.propagate_in_video_preflight(state)
        self._states[object_id] = state
        self.frame_steps += 1
        return found

    def drop(self, object_id: int) -> None:
        del self._states[object_id]

    def _prompt(
        self, state: dict[str, Any], box: NDArray[np.float32] | None, mask: Mask | None
    ) -> Mask:
        with self._precision():
            if box is not None:
                found = self._predictor.add_new_points_or_box(state, self._frame, _ONLY, box=box)
            else:
                found = self._predictor.add_new_mask(state, self._frame, _ONLY, mask)
        return _binary(found[2])

    def _follow(self, state: dict[str, Any]) -> Mask:
        state["cached_features"] = self._features
        outputs = state["output_dict_per_obj"][0]
        current, masks = self._predictor._run_single_frame_inference(
            inference_state=state,
            output_dict=outputs,
            frame_idx=self._frame,
            batch_size=1,
            is_init_cond_frame=False,
            point_inputs=None,
            mask_inputs=None,
            reverse=False,
            run_mem_encoder=True,
        )
        tracked = outputs["non_cond_frame_outputs"]
        tracked[self._frame] = current
        for frame in list(tracked):
            if self._frame - frame >= self._predictor.max_obj_ptrs_in_encoder:
                del tracked[frame]
        _, full = self._predictor._get_orig_video_res_output(state, masks)
        return _binary(full)

    def _new_state(self) -> dict[str, Any]:
        """What `SAM2VideoPredictor.init_state` makes of a folder of pictures."""
        from collections import OrderedDict

        device = self._predictor.device
        per_object = (
            "point_inputs_per_obj",
            "mask_inputs_per_obj",
            "output_dict_per_obj",
            "temp_output_dict_per_obj",
            "frames_tracked_per_obj",
        )
        return {
            "images": {},
            "num_frames": self._n_frames,
            "offload_video_to_cpu": False,
            "offload_state_to_cpu": False,
            "video_height": self._size[0],
            "video_width": self._size[1],
            "device": device,
            "storage_device": device,
            "cached_features": self._features,
            "constants": self._constants,
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
            **{name: {} for name in per_object},
        }

    def _prepared(self, pixels: Pixels) -> Any:
        """`(1, 3, S, S)` as the package prepares pictures of a folder."""
        import torch
        from PIL import Image

        side = self._predictor.image_size
        resized = np.asarray(Image.fromarray(pixels).resize((side, side)), dtype=np.float32) / 255
        normal = (resized - np.array(_MEAN, np.float32)) / np.array(_STD, np.float32)
        image = torch.from_numpy(normal).permute(2, 0, 1).unsqueeze(0)
        return image.to(self._predictor.device)

    def _precision(self) -> Any:
        """bfloat16 on a CUDA device, as the official pipeline runs it."""
        import torch

        return half_precision(self._predictor.device, torch.bfloat16)


def _binary(logits: Any) -> Mask:
    mask: Mask = (logits[0, 0] > 0).cpu().numpy()
    return mask
