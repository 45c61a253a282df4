"""SAM 2.1 through transformers: Meta's checkpoints, streamed; EdgeTAM and SAM 3 in the same way.

EdgeTAM is SAM 2 with a smaller picture encoder and shorter memories. Of SAM 3 it is the half that
follows given objects. Its other half finds objects by a phrase and has no place here: what is
segmented is what the tracker or the answer names, by box or mask.

Every object starts in a session of its own, so objects cannot influence one another: in one
session for all, an object that starts changes how the memories of the others are written on that
frame. From the next frame on, objects that started together go through the model as one batch;
so do boxes of which only the masks are wanted.
The picture is encoded once for all. What a session remembers is cut to what the model reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
"""ID that each session has for its objects; a batch of them is one to transformers."""
_BATCHED = ("Sam2VideoModel", "Sam3TrackerVideoModel")
"""Models that take a batch of objects; EdgeTAM's memory takes one."""
_MOST = 8
"""Objects of a batch: transformers makes a mask for every pair of them."""


class TransformersSam2:
    """A `Sam2VideoModel`, or one like it, and its processor; build one with `from_pretrained`."""

    def __init__(self, model: Any, processor: Any, *, name: str = "sam2") -> None:
        """Wrap a loaded model; `name` is for messages."""
        self.name = name
        self.model = model.eval()
        self.processor = processor
        if type(model).__name__ in _BATCHED:
            model.memory_attention.register_forward_hook(_batch_first)

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
                device_map=device,
                dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise ModelError(
                f"Cannot load SAM 2 from {name}: {first_line(error)}; give a folder or Hub id of a "
                "SAM 2, EdgeTAM or SAM 3 video model, such as 'facebook/sam2.1-hiera-small'."
            ) from error
        return cls(model, processor, name=name)

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
        self._most = _MOST if type(model).__name__ in _BATCHED else 1
        self._size = (height, width)
        self._frame = -1
        self._frames = _Frames(n_frames)
        self._cache: Any = None
        self._sessions: list[tuple[list[int], Any]] = []
        """Object IDs in the order of a batch, and their session."""
        self._n_grouped = 0
        """How many of the sessions started before the current frame."""

    def next_frame(self, pixels: Pixels) -> dict[int, Mask]:
        self._group()
        self._frame += 1
        inputs = self._processor(images=pixels, return_tensors="pt", device=self._model.device)
        self._frames.clear()
        self._frames[self._frame] = inputs["pixel_values"][0].to(
            self._model.device, self._model.dtype
        )
        found: dict[int, Mask] = {}
        for ids, session in self._sessions:
            self.frame_steps += len(ids)
            run = self._run if len(ids) == 1 else self._run_together
            found.update(zip(ids, self._masks(run(session)), strict=True))
        return {i: found[i] for i in sorted(found)}

    def masks_of_boxes(
        self, boxes: NDArray[np.float32] | Sequence[NDArray[np.float32]]
    ) -> list[Mask]:
        masks = []
        for first in range(0, len(boxes), self._most):
            session, some = self._new_session(), list(boxes[first : first + self._most])
            self._prompt_boxes(session, some)
            alone = len(some) == 1
            masks += self._masks(
                self._run(session, remember=False) if alone else self._start_together(session)
            )
        return masks

    def add(
        self, object_id: int, *, box: NDArray[np.float32] | None = None, mask: Mask | None = None
    ) -> Mask:
        if (box is None) == (mask is None):
            raise ValueError("give an object's box or its mask, and not both")
        if any(object_id in ids for ids, _ in self._sessions):
            self.drop(object_id)
        session = self._new_session()
        if box is not None:
            self._prompt_boxes(session, [box])
        else:
            self._processor.add_inputs_to_inference_session(
                session, self._frame, [_ONLY], input_masks=[mask], original_size=self._size
            )
        self.frame_steps += 1
        self._sessions.append(([object_id], session))
        (started,) = self._masks(self._run(session))
        return started

    def drop(self, object_id: int) -> None:
        place = next(n for n, (ids, _) in enumerate(self._sessions) if object_id in ids)
        ids, session = self._sessions[place]
        if len(ids) == 1:
            del self._sessions[place]
            self._n_grouped -= place < self._n_grouped
            return
        others = [n for n, other in enumerate(ids) if other != object_id]
        for outputs in _outputs_of(session):
            for name, value in outputs.items():
                outputs[name] = value[:, others] if _by_column(name) else value[others]
        self._sessions[place] = [ids[n] for n in others], session

    def _group(self) -> None:
        """Join what started in the frame that ends into batches."""
        new = self._sessions[self._n_grouped :]
        del self._sessions[self._n_grouped :]
        for first in range(0, len(new), self._most):
            some = new[first : first + self._most]
            ids = [object_id for own, _ in some for object_id in own]
            sessions = [session for _, session in some]
            self._sessions.append((ids, self._together(sessions)))
        self._n_grouped = len(self._sessions)

    def _together(self, sessions: Sequence[Any]) -> Any:
        """One session that remembers the starts of all of these, in the same frame."""
        import torch

        if len(sessions) == 1:
            return sessions[0]
        joined = self._new_session()
        joined.obj_id_to_idx(_ONLY)
        joined.cache = type(self._cache)(joined.inference_device, joined.inference_state_device)
        starts = [next(_outputs_of(session)) for session in sessions]
        joined.output_dict_per_obj[0]["cond_frame_outputs"][self._frame] = {
            name: torch.cat([start[name] for start in starts], dim=int(_by_column(name)))
            for name in starts[0]
        }
        return joined

    def _new_session(self) -> Any:
        session = self._processor.init_video_session(
            inference_device=self._model.device, dtype=self._model.dtype
        )
        self._cache = self._cache or session.cache
        session.cache, session.processed_frames = self._cache, self._frames
        session.video_height, session.video_width = self._size
        return session

    def _prompt_boxes(self, session: Any, boxes: Sequence[NDArray[np.float32]]) -> None:
        ids = list(range(_ONLY, _ONLY + len(boxes)))
        corners = [[[float(v) for v in box] for box in boxes]]
        self._processor.add_inputs_to_inference_session(
            session, self._frame, ids, input_boxes=corners, original_size=self._size
        )

    def _run(self, session: Any, *, remember: bool = True) -> Any:
        """`(1, 1, h, w)` mask of the one object of a session in the current frame."""
        output = self._model(session, frame_idx=self._frame, run_mem_encoder=remember)
        self._forget(session)
        return output.pred_masks

    def _run_together(self, session: Any) -> Any:
        """`(B, 1, h, w)` masks of a batch in the current frame, into which they are followed."""
        import torch

        count = len(next(_outputs_of(session))["object_pointer"])
        with torch.inference_mode():
            found, picture = self._infer(session, count, None)
            found["maskmem_features"], found["maskmem_pos_enc"] = self._model._encode_new_memory(
                picture,
                found["high_res_masks"],
                found["object_score_logits"],
                is_mask_from_pts=False,
            )
        session.store_output(0, self._frame, output_value=found, is_conditioning_frame=False)
        self._forget(session)
        return found["pred_masks"]

    def _start_together(self, session: Any) -> Any:
        """`(B, 1, h, w)` masks of the B objects that a session has boxes of, each as if alone."""
        import torch

        boxes = [of_object[self._frame] for of_object in session.point_inputs_per_obj.values()]
        points = {name: torch.cat([box[name] for box in boxes]) for name in boxes[0]}
        session.cache = type(self._cache)(session.inference_device, session.inference_state_device)
        with torch.inference_mode():
            found, _ = self._infer(session, len(boxes), points)
        return found["pred_masks"]

    def _infer(self, session: Any, count: int, points: dict[str, Any] | None) -> tuple[Any, Any]:
        """What the model says of so many objects at once, and the picture's features for them."""
        # The encoded picture once more for every object, without a copy.
        self._model._prepare_vision_features(self._new_session(), self._frame, 1)
        seen = {
            name: [part.expand(-1, count, -1) for part in parts]
            for name, parts in self._cache.get_vision_features(self._frame).items()
        }
        session.cache.cache_vision_features(self._frame, seen)
        found = self._model._run_single_frame_inference(
            inference_session=session,
            frame_idx=self._frame,
            obj_idx=0,
            batch_size=1,  # What is cached is as many already.
            is_init_cond_frame=points is not None,
            point_inputs=points,
            mask_inputs=None,
            reverse=False,
        )
        return {name: _own(value) for name, value in found.items()}, seen["vision_feats"][-1]

    def _forget(self, session: Any) -> None:
        """Drop what the model will not read again."""
        config = self._model.config
        for outputs in _outputs_of(session):
            outputs.pop("high_res_masks", None)
        tracked = session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        for frame in list(tracked):
            age = self._frame - frame
            if age >= config.max_object_pointers_in_encoder:
                del tracked[frame]
            elif age >= config.num_maskmem:
                for key in ("maskmem_features", "maskmem_pos_enc", "pred_masks"):
                    tracked[frame].pop(key, None)

    def _masks(self, low_resolution: Any) -> list[Mask]:
        """`(B, 1, h, w)` logits as B masks of the video's size."""
        (masks,) = self._processor.post_process_masks(
            [low_resolution], original_sizes=[self._size], binarize=True
        )
        return list(masks[:, 0].cpu().numpy().astype(bool))


def _outputs_of(session: Any) -> Iterator[dict[str, Any]]:
    """What a session remembers of each frame, the frame it started in first."""
    for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
        yield from session.output_dict_per_obj[0][kind].values()


def _by_column(name: str) -> bool:
    """Whether an output of this name counts its objects along the second axis."""
    return name.startswith("maskmem")


def _own(values: Any) -> Any:
    """`(B, 1, ...)` of each object's own values.

    Of a batch transformers picks the best mask for every pair of objects, `(B, B, ...)`.
    """
    return values if values.shape[1] == 1 else values.diagonal().movedim(-1, 0)[:, None]


def _batch_first(module: Any, given: Any, attended: Any) -> Any:
    """`(1, B, L, C)` to `(B, L, C)`, which transformers' next step takes for any B."""
    return attended[0] if attended.ndim == 4 else attended
