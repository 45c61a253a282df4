"""SAM 2.1 through transformers: Meta's checkpoints, streamed; EdgeTAM and SAM 3 in the same way.

EdgeTAM is SAM 2 with a smaller picture encoder and shorter memories. Of SAM 3 it is the half that
follows given objects. Its other half finds objects by a phrase and has no place here: what is
segmented is what the tracker or the answer names, by box or mask.

Every object has a session of its own, so objects cannot influence one another: in one session for
all, an object that starts changes how the memories of the others are written on that frame. The
picture is encoded once for all of them. What a session remembers is cut to what the model reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stvg_r1_hub.errors import ModelError, first_line
from stvg_r1_hub.hub.files import HubAccess, model_folder
from stvg_r1_hub.mask_session import Mask
from stvg_r1_hub.structures import Pixels

_CLASSES = {
    "sam2_video": ("Sam2VideoModel", "Sam2VideoProcessor"),
    "sam2": ("Sam2VideoModel", "Sam2VideoProcessor"),
    "edgetam_video": ("EdgeTamVideoModel", "Sam2VideoProcessor"),
    "sam3_tracker_video": ("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor"),
    "sam3_video": ("Sam3TrackerVideoModel", "Sam3TrackerVideoProcessor"),
}
"""`model_type` of a checkpoint -> the classes of transformers that follow objects with it."""
_ONLY = 1
"""ID of the one object of each session."""


class TransformersSam2:
    """A `Sam2VideoModel`, or one like it, and its processor; build one with `from_pretrained`."""

    def __init__(self, model: Any, processor: Any, *, name: str = "sam2") -> None:
        """Wrap a loaded model; `name` is for messages."""
        self.name = name
        self.model = model.eval()
        self.processor = processor

    @classmethod
    def from_pretrained(
        cls,
        folder_or_id: str | Path,
        *,
        device: str = "cpu",
        access: HubAccess = HubAccess(),
    ) -> TransformersSam2:
        """Load a checkpoint, bfloat16 on a CUDA device and float32 elsewhere.

        Args:
            folder_or_id: such as `"facebook/sam2.1-hiera-large"`, `"yonigozlan/EdgeTAM-hf"` or
                `"facebook/sam3"`.
            device: a torch device.
            access: how the Hub is asked.

        Raises:
            ModelError: nothing usable is there.
        """
        import torch
        import transformers

        name = str(folder_or_id)
        folder = model_folder(
            name, access, instead="give segmenter the folder of a SAM 2 video model"
        )
        try:
            found = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
            if found.model_type not in _CLASSES:
                raise ValueError(f"it is a {found.model_type!r} model")
            of_model, of_processor = _CLASSES[found.model_type]
            processor = getattr(transformers, of_processor).from_pretrained(folder)
            model: Any = getattr(transformers, of_model).from_pretrained(
                folder,
                use_safetensors=True,
                dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise ModelError(
                f"Cannot load SAM 2 from {name}: {first_line(error)}; give a folder or Hub id of a "
                "SAM 2, EdgeTAM or SAM 3 video model, such as 'facebook/sam2.1-hiera-small'."
            ) from error
        return cls(model.to(device), processor, name=name)

    def open(self, height: int, width: int, n_frames: int) -> _Session:
        """A session for one video of at most `n_frames` frames of this size."""
        return _Session(self.model, self.processor, height, width, n_frames)


class _Frames(dict[int, Any]):
    """The current frame alone, but as long as the video; the model asks both."""

    def __init__(self, n_frames: int) -> None:
        super().__init__()
        self._n_frames = n_frames

    def __len__(self) -> int:
        return self._n_frames


class _Session:
    """See `mask_session.MaskSession`."""

    def __init__(self, model: Any, processor: Any, height: int, width: int, n_frames: int) -> None:
        self.frame_steps = 0
        self._model = model
        self._processor = processor
        self._size = (height, width)
        self._frame = -1
        self._frames = _Frames(n_frames)
        self._cache: Any = None
        self._objects: dict[int, Any] = {}

    def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
        self._frame += 1
        inputs = self._processor(images=pixels, return_tensors="pt")
        self._frames.clear()
        self._frames[self._frame] = inputs["pixel_values"][0].to(
            self._model.device, self._model.dtype
        )
        self.frame_steps += len(self._objects)
        return {i: self._mask(self._run(session)) for i, session in self._objects.items()}

    def masks_of_boxes(
        self, boxes: NDArray[np.float32] | Sequence[NDArray[np.float32]]
    ) -> list[Mask]:
        masks = []
        for box in boxes:
            session = self._new_session()
            self._prompt_box(session, box)
            masks.append(self._mask(self._run(session, remember=False)))
        return masks

    def add(
        self, object_id: int, *, box: NDArray[np.float32] | None = None, mask: Mask | None = None
    ) -> Mask:
        if (box is None) == (mask is None):
            raise ValueError("give an object's box or its mask, and not both")
        session = self._new_session()
        if box is not None:
            self._prompt_box(session, box)
        else:
            self._processor.add_inputs_to_inference_session(
                session, self._frame, [_ONLY], input_masks=[mask], original_size=self._size
            )
        self.frame_steps += 1
        self._objects[object_id] = session
        return self._mask(self._run(session))

    def drop(self, object_id: int) -> None:
        del self._objects[object_id]

    def _new_session(self) -> Any:
        session = self._processor.init_video_session(
            inference_device=self._model.device, dtype=self._model.dtype
        )
        self._cache = self._cache or session.cache
        session.cache, session.processed_frames = self._cache, self._frames
        session.video_height, session.video_width = self._size
        return session

    def _prompt_box(self, session: Any, box: NDArray[np.float32]) -> None:
        corners = [[[float(v) for v in box]]]
        self._processor.add_inputs_to_inference_session(
            session, self._frame, [_ONLY], input_boxes=corners, original_size=self._size
        )

    def _run(self, session: Any, *, remember: bool = True) -> Any:
        output = self._model(session, frame_idx=self._frame, run_mem_encoder=remember)
        kept = session.output_dict_per_obj[0]
        config = self._model.config
        for outputs in kept.values():
            for frame in list(outputs):
                outputs[frame].pop("high_res_masks", None)
        tracked = kept["non_cond_frame_outputs"]
        for frame in list(tracked):
            age = self._frame - frame
            if age >= config.max_object_pointers_in_encoder:
                del tracked[frame]
            elif age >= config.num_maskmem:
                for key in ("maskmem_features", "maskmem_pos_enc", "pred_masks"):
                    tracked[frame].pop(key, None)
        return output.pred_masks

    def _mask(self, low_resolution: Any) -> Mask:
        masks = self._processor.post_process_masks(
            [low_resolution], original_sizes=[self._size], binarize=True
        )
        mask: Mask = masks[0][0, 0].cpu().numpy().astype(bool)
        return mask
