"""A network at work: batches go to its device, results come back, memory that is short is borne."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import torch
from torch import Tensor, nn

DEVICES = ("auto", "cpu", "cuda")
STREAMS = 2  # on which one GPU computes and copies at a time


def resolve_device(device: str) -> str:
    """The device to compute on, "cpu" or "cuda": "auto" is the GPU where there is one.

    Raises:
        ValueError: another name, or "cuda" where no CUDA device is usable.
    """
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, and no CUDA device is usable here")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


class Inference:
    """Runs one network on one device, without gradients, in evaluation mode and channels last.

    On a GPU: bfloat16 where the GPU itself computes in it, pinned memory. Two threads may run at a
    time, each on a stream of its own, so that what one prepares, sends and fetches goes on while
    the GPU computes for the other. A batch for which memory does not suffice is halved until it
    does, and later ones are no larger. With `is_compiled` the last batch is filled up, for one of
    another size would be compiled anew.
    """

    def __init__(
        self, network: nn.Module, device: str, batch_size: int, is_compiled: bool = False
    ) -> None:
        """Take the network to the device.

        Args:
            network: takes one or more tensors of a batch, gives one, each with the batch first.
            device: "cpu" or "cuda".
            batch_size: how many items go through the network at once.
            is_compiled: whether `torch.compile` prepares it, which takes a minute and then pays.
        """
        self.batch_size = batch_size
        self._device = torch.device(device)
        self._is_cuda = self._device.type == "cuda"
        self._has_bf16 = self._is_cuda and torch.cuda.is_bf16_supported(including_emulation=False)
        self._is_compiled = is_compiled
        self._streams: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        network = network.eval().to(self._device)
        put_channels_last(network)
        if self._is_cuda:
            for _ in range(STREAMS):
                self._streams.put(torch.cuda.Stream())
            torch.cuda.synchronize()  # the weights are there before another stream reads them
        self._network: Callable[..., Tensor] = (
            torch.compile(network, dynamic=False) if is_compiled else network
        )

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """The network's output of each item, float32 (n, ...), in their order.

        Args:
            inputs: what the network takes, each (n, ...), n at least 1.

        Raises:
            ValueError: there is no item.
            torch.OutOfMemoryError: not even one item fits.
        """
        if len(inputs[0]) == 0:
            raise ValueError("expected at least one item, got none")
        with self._own_stream(), torch.inference_mode():
            outputs = [output.float() for output in self._outputs(inputs)]
            return torch.cat(outputs).cpu().numpy()

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """A stream of the GPU that no other thread uses meanwhile."""
        if not self._is_cuda:
            yield
            return
        stream = self._streams.get()
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._streams.put(stream)

    def _outputs(self, inputs: tuple[np.ndarray, ...]) -> Iterator[Tensor]:
        start, count = 0, len(inputs[0])
        while start < count:
            size = self.batch_size
            output = self._output([values[start : start + size] for values in inputs], size)
            if output is None:
                self.batch_size = min(self.batch_size, size // 2)
                torch.cuda.empty_cache()
                continue
            yield output
            start += len(output)

    def _output(self, batch: list[np.ndarray], size: int) -> Tensor | None:
        """The network's output; None where memory does not suffice for a batch of `size`.

        Of what it did take, all is free after the return: an error that is being handled would
        still hold it.
        """
        count = len(batch[0])
        if self._is_compiled:
            batch = [_filled_up(values, size) for values in batch]
        try:
            tensors = [self._on_device(values) for values in batch]
            with self._bf16():
                return self._network(*tensors)[:count]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            return None

    def _bf16(self) -> torch.autocast:
        # All threads share one cache of weights in bfloat16, and what one stream wrote there may
        # not be written yet, or be freed, when another reads it.
        return torch.autocast("cuda", torch.bfloat16, enabled=self._has_bf16, cache_enabled=False)

    def _on_device(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._is_cuda:
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def put_channels_last(network: nn.Module) -> None:
    """Lay out the weights of two-dimensional convolutions, which have four dimensions, as those
    are fastest: on GPUs with bfloat16, and VGG-16 by a fifth on a processor (oneDNN).
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def _filled_up(values: np.ndarray, count: int) -> np.ndarray:
    """The values, the last one repeated up to `count`."""
    missing = np.repeat(values[-1:], count - len(values), axis=0)
    return np.concatenate([values, missing])
