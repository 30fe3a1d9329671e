"""A network at work: batches, their borders, and memory that is short."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tumorbase.models.inference import Inference, put_channels_last, resolve_device


class Doubles(nn.Module):
    """Twice each input plus the second one, and a record of the batches that came."""

    def __init__(self, fits: int = 10**9) -> None:
        super().__init__()
        self.fits = fits
        self.batches: list[int] = []
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        if len(first) > self.fits:
            raise torch.OutOfMemoryError("too large a batch")
        self.batches.append(len(first))
        return self.scale * first + second


def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.arange(3.0 * count, dtype=np.float32).reshape(count, 3)
    return first, np.ones((count, 1), dtype=np.float32)


@pytest.mark.parametrize("count", [1, 4, 5, 9])
def test_outputs_come_in_the_order_of_the_inputs(count: int) -> None:
    network = Doubles()
    first, second = inputs(count)
    np.testing.assert_array_equal(Inference(network, "cpu", 4).run(first, second), 2 * first + 1)
    assert network.batches == [4] * (count // 4) + [count % 4] * (count % 4 > 0)


def test_a_batch_that_does_not_fit_is_halved_and_so_are_the_later_ones() -> None:
    network = Doubles(fits=2)
    inference = Inference(network, "cpu", 16)
    first, second = inputs(7)
    np.testing.assert_array_equal(inference.run(first, second), 2 * first + 1)
    assert network.batches == [2, 2, 2, 1]  # 16, 8 and 4 do not fit
    np.testing.assert_array_equal(inference.run(first, second), 2 * first + 1)
    assert network.batches == 2 * [2, 2, 2, 1]


def test_what_a_batch_took_that_does_not_fit_is_free_before_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took: list[weakref.ref[Tensor]] = []

    class Takes(Doubles):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            features = first + 1
            took.append(weakref.ref(features))
            return super().forward(first, second)

    is_held: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: is_held.append(took[-1]() is not None))
    Inference(Takes(fits=2), "cpu", 4).run(*inputs(4))
    assert is_held == [False]


def test_images_lie_channels_last_and_nothing_else_changes() -> None:
    """Lambda networks have weights of five dimensions, of which none are channels."""
    network = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Conv3d(3, 4, 2))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    put_channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_runs_channels_last_on_a_processor_too() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    Inference(network, "cpu", 4).run(np.ones((2, 3, 8, 8), dtype=np.float32))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_single_item_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Inference(Doubles(fits=0), "cpu", 4).run(*inputs(3))


def test_no_item_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one item, got none"):
        Inference(Doubles(), "cpu", 4).run(*inputs(0))


def test_a_network_runs_in_evaluation_mode_and_without_gradients() -> None:
    network = nn.Dropout(0.5)
    out = Inference(network, "cpu", 4).run(np.ones((8, 100), dtype=np.float32))
    np.testing.assert_array_equal(out, 1.0)


@pytest.mark.slow
def test_a_compiled_network_sees_one_shape_and_gives_the_same() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 5), nn.GELU())
    items = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
    plain = Inference(network, "cpu", 4).run(items)
    compiled = Inference(network, "cpu", 4, is_compiled=True).run(items)
    assert compiled.shape == (7, 5)
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-6)


def test_a_device_that_is_unknown_or_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, got 'tpu'"):
        resolve_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device is usable"):
        resolve_device("cuda")
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"


@pytest.mark.gpu
def test_half_precision_on_a_gpu_points_the_same_way() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = np.random.default_rng(0).random((32, 3, 64, 64), dtype=np.float32)
    on_cpu = Inference(network, "cpu", 32).run(images)
    on_gpu = Inference(network, "cuda", 8)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(on_gpu.run, 20 * [images]))
    for answer in answers:
        assert np.array_equal(answer, answers[0])
        cosine = (on_cpu * answer).sum(1) / np.linalg.norm(on_cpu, axis=1)
        assert (cosine / np.linalg.norm(answer, axis=1) >= 0.999).all()
