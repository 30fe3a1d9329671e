"""Encoders that are networks: published weights, found by name, loaded when they first encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from torch import nn

from tumorbase.models.checkpoints import load_into, read_notes, read_state
from tumorbase.models.encoders import EncoderSpec, Runtime, canonical
from tumorbase.models.inference import Inference
from tumorbase.models.networks import build
from tumorbase.models.own_random_numbers import OwnRandomNumbers
from tumorbase.models.published import Weights
from tumorbase.models.weights import FoundWeights, UnusableWeights, file_sha256

Prepare = Callable[[Sequence[Any]], tuple[np.ndarray, ...]]


class NetworkEncoder:
    """Prepares a batch on the processor and runs it through a network, here or in the process that
    has the GPU. Vectors are what the network gives, as it is: queries compare directions, and who
    trains on vectors has them as their authors had.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        load: Callable[[], nn.Module],
        prepare: Prepare,
        runtime: Runtime,
        batch_size: int,
    ) -> None:
        """An encoder of `spec`.

        Args:
            spec: what its vectors are bound to.
            load: makes the network; called once, when it is first needed in this process. The
                network takes what `prepare` returns and gives (batch, dim).
            prepare: from a batch of the level's inputs to the network's, each (batch, ...).
            runtime: where the network runs.
            batch_size: how many items go through the network at once; 1 where they differ in shape.
        """
        self.spec = spec
        self._load = load
        self._prepare = prepare
        self._runtime = runtime
        self._batch_size = batch_size
        self._inference: Inference | None = None
        self._loading = Lock()

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Vectors of the batch, float32 (batch, spec.dim).

        Raises:
            ValueError: an input that the network cannot take; what was expected and what came.
        """
        if len(batch) == 0:
            return np.empty((0, self.spec.dim), dtype=np.float32)
        return self.run(*self._prepare(batch))

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """The network's bare output of prepared inputs, float32 (batch, ...)."""
        if self._runtime.remote:
            return self._runtime.remote(self.spec.name, *inputs)
        return self._local().run(*inputs)

    def _local(self) -> Inference:
        """The network, loaded once however many threads ask for it first."""
        with self._loading:
            if self._inference is None:
                # Each shape of items would be compiled anew, and take another minute.
                is_compiled = self._runtime.is_compiled and self._batch_size > 1
                self._inference = Inference(
                    self._load(), self._runtime.device, self._batch_size, is_compiled
                )
            return self._inference


def network_spec(
    weights: Weights, sha256: str, level: str, preprocessing: Mapping[str, Any]
) -> EncoderSpec:
    """The spec of the encoder that goes by the name of its weights.

    Args:
        weights: whose `dim` is the vectors'.
        sha256: of the file.
        level: of `encoders.LEVELS`.
        preprocessing: every parameter that changes the output.
    """
    return EncoderSpec(
        name=weights.name,
        version="1",
        level=level,
        dim=weights.dim,
        weights_sha256=sha256,
        preprocessing=canonical(preprocessing),
    )


def load_published(weights: Weights, found: FoundWeights) -> nn.Module:
    """The network of these weights, loaded from the file that was found.

    A .safetensors file of one's own may say `config` of itself (`checkpoints.read_notes`), what the
    network's class is told beside or instead of the published configuration.

    Raises:
        UnusableWeights: as `checkpoints.read_state` and `checkpoints.load_into`, its configuration
            is not one of the network's, or it was changed since it was found.
    """
    path = found.path
    stated = read_notes(path).get("config", {})
    if not isinstance(stated, dict):
        raise UnusableWeights(f"{path}: expected config to be an object, got {stated!r}")
    config = {**weights.config, **stated}
    try:
        with OwnRandomNumbers():  # a training at work in another thread could not be repeated
            network = build(weights.network, **config)
    except (TypeError, ValueError) as error:
        raise UnusableWeights(
            f"{path}: {weights.network} cannot be built of {config}: {error}"
        ) from error
    state = read_state(path, weights.wrapper, weights.prefixes)
    if file_sha256(path) != found.sha256:
        raise UnusableWeights(f"{path}: it was changed while it was in use")
    load_into(network, state, str(path), weights.left_over)
    return network
