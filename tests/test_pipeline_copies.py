"""A pipeline on another device, in another process, or copied, answers the same."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch

from stvg_r1_hub import STVGPipeline
from stvg_r1_hub.errors import ConfigError
from stvg_r1_hub.examples import find_example
from stvg_r1_hub.tracking import load_tracker
from stvg_r1_hub.vlm.server import ServerVLM
from tests.test_pipeline import make_pipeline

DEMO = find_example("demo")


@pytest.fixture(scope="module")
def tiny() -> STVGPipeline:
    return STVGPipeline.from_pretrained("tiny", device="cpu", token="hf_secret")


def pickled(pipeline: STVGPipeline) -> STVGPipeline:
    again = pickle.loads(pickle.dumps(pipeline))
    assert isinstance(again, STVGPipeline)
    return again


@pytest.mark.parametrize("copied", [pickled, copy.deepcopy, copy.copy])
def test_a_copy_answers_the_same(
    tiny: STVGPipeline, copied: Callable[[STVGPipeline], STVGPipeline]
) -> None:
    other = copied(tiny)
    assert repr(other) == repr(tiny) and other.warnings == tiny.warnings
    assert (other.tracker is tiny.tracker) == (copied is copy.copy)
    assert other(DEMO.query, DEMO.clip) == tiny(DEMO.query, DEMO.clip)


def test_what_is_pickled_holds_no_weights_and_no_token(tiny: STVGPipeline) -> None:
    tiny(DEMO.query, DEMO.clip)  # By now all are loaded.
    data = pickle.dumps(tiny)
    assert len(data) < 10_000 and b"hf_secret" not in data


def test_what_was_replaced_stays_so(tiny: STVGPipeline) -> None:
    config = replace(tiny.config, reads_notes=False)
    tracker, _ = load_tracker("coco", config=config.tracking)
    server = ServerVLM("http://localhost/v1", model="qwen")
    other = pickled(tiny.replace(config=config, tracker=tracker, vlm=server))
    assert other.config == config and other.tracker.name == tracker.name
    assert isinstance(other.vlm, ServerVLM) and other.vlm.model == "qwen"
    given = pickled(STVGPipeline.from_pretrained("zero-shot", vlm=server))
    assert isinstance(given.vlm, ServerVLM) and given.vlm.model == "qwen"


def test_one_of_parts_given_by_hand() -> None:
    pipeline, _, _ = make_pipeline()
    assert repr(pickled(pipeline)) == repr(pipeline)
    with pytest.raises(ConfigError, match="put together by hand"):
        pipeline.to("cpu")


@pytest.mark.slow
def test_another_process_shares_the_work(tiny: STVGPipeline) -> None:
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        results = [pool.submit(tiny, query, DEMO.clip) for query in (DEMO.query, "the red car")]
        there = [result.result() for result in results]
    assert there == tiny([DEMO.query, "the red car"], DEMO.clip)


NEEDS_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.mark.slow
@pytest.mark.parametrize("device", ["meta", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_all_of_it_moves_and_comes_back(device: str) -> None:
    """`meta` is a device of torch without memory: models can be there, though not answer."""
    pipeline = STVGPipeline.from_pretrained("tiny", device="cpu", tracker="coco")
    here = pipeline(DEMO.query, DEMO.clip)
    tracker = pipeline.tracker
    assert pipeline.to("cpu") is pipeline and pipeline.tracker is tracker
    assert pipeline.to(device) is pipeline and pipeline.tracker is not tracker
    assert pipeline.device == device and pipeline.vlm.sight.model.device.type == device
    if device == "cuda":
        there = pipeline(DEMO.query, DEMO.clip)
        assert there.found == here.found
    assert pipeline.to("cpu")(DEMO.query, DEMO.clip) == here
    with pytest.raises(ConfigError, match="is not there"):
        pipeline.to("cuda:99")
    assert pipeline.device == "cpu"
