"""A network at work: batches go to its device, results come back, memory that is short is borne."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

DEVICES = ("auto", "cpu", "cuda")


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
    """Runs one network on one device, without gradients and in evaluation mode.

    On a GPU: channels last, bfloat16 where the GPU has it, pinned memory, and the next batch is on
    its way while one is computed. A batch for which memory does not suffice is halved, and so are
    all later ones. With `is_compiled` every batch has the same size, the last one filled up.
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
        self._has_bf16 = self._is_cuda and torch.cuda.is_bf16_supported()
        self._is_compiled = is_compiled
        network = network.eval().to(self._device)
        if self._is_cuda:
            network = network.to(memory_format=torch.channels_last)
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
        with torch.inference_mode():
            outputs = [output.float() for output in self._outputs(inputs)]
            return torch.cat(outputs).cpu().numpy()

    def _outputs(self, inputs: tuple[np.ndarray, ...]) -> Iterator[Tensor]:
        start, count = 0, len(inputs[0])
        while start < count:
            batch = [values[start : start + self.batch_size] for values in inputs]
            try:
                output = self._forward(batch)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size = max(1, min(self.batch_size, len(batch[0])) // 2)
                torch.cuda.empty_cache()
                continue
            yield output
            start += len(output)

    def _forward(self, batch: list[np.ndarray]) -> Tensor:
        count = len(batch[0])
        if self._is_compiled:
            batch = [_filled_up(values, self.batch_size) for values in batch]
        tensors = [self._on_device(values) for values in batch]
        with torch.autocast("cuda", torch.bfloat16, enabled=self._has_bf16):
            return self._network(*tensors)[:count]

    def _on_device(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._is_cuda:
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def _filled_up(values: np.ndarray, count: int) -> np.ndarray:
    """The values, the last one repeated up to `count`."""
    missing = np.repeat(values[-1:], count - len(values), axis=0)
    return np.concatenate([values, missing])
