"""RadNet as an encoder: a vector of each scan of a case, and one of the case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from tumorbase.models.encoders import POOLED_SUFFIX, Runtime, canonical
from tumorbase.models.network_encoder import NetworkEncoder, load_published, network_spec
from tumorbase.models.published import PUBLISHED
from tumorbase.models.scan_preparation import (
    MAX_SLICES,
    SIDE_PX,
    SOFT_TISSUE_HU,
    Sample,
    prepare_case,
)
from tumorbase.models.weights import find_weights

MAX_LOGIT = 60.0  # as the reference's evaluation has it


class CaseTokens(nn.Module):
    """What RadNet knows of cases and their scans before it classifies."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, marks: Tensor, modalities: Tensor) -> Tensor:
        """Tokens (cases, 1 + scans, 2048), the case's first; the arguments are RadNet's."""
        output = self.network(images, marks, modalities)
        return torch.cat([output.case[:, None], output.scans], dim=1)


class RadNetEncoder:
    """Vectors of scans as `spec` says, of cases as `case_spec` says: the tokens of `CaseTokens` as
    they are, so that the head can say of a stored one what it shows.
    """

    def __init__(self, name: str, runtime: Runtime) -> None:
        """The encoder called `name`, as are its weights.

        Raises:
            ValueError: the weights are not found.
        """
        weights = PUBLISHED[name]
        found = find_weights(weights, runtime.weights)
        preprocessing = {
            "side_px": SIDE_PX,
            "max_slices": MAX_SLICES,
            "window_hu": SOFT_TISSUE_HU,
        }
        self.spec = network_spec(weights, found.sha256, "series", preprocessing)
        self.case_spec = replace(
            self.spec,
            name=f"{name}{POOLED_SUFFIX}",
            level="case",
            preprocessing=canonical({"scan_encoder": self.spec.encoder_id}),
        )
        self._load = partial(load_published, weights, found)
        self._tokens = NetworkEncoder(
            self.spec,
            lambda: CaseTokens(self._load()),
            _case_input,
            runtime,
            batch_size=1,  # cases have any number of scans
        )

    def encode(self, batch: Sequence[Sample]) -> np.ndarray:
        """Vectors of the samples' scans, float32 (scans, dim); samples have one scan each."""
        return self.encode_case(batch)[0]

    def encode_case(self, samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of a case's scans, float32 (scans, dim), and of the case, (1, dim).

        Raises:
            ValueError: as `prepare_case`.
        """
        tokens = self.run(*_case_input(samples))[0]  # (1 + scans, dim)
        return tokens[1:], tokens[:1]

    def probabilities(self, cases: np.ndarray) -> np.ndarray:
        """Of each class by itself, float32 (cases, classes), from vectors of cases (cases, dim)."""
        with torch.inference_mode():
            logits = self._head(torch.tensor(cases))  # (cases, classes)
            return torch.sigmoid(logits.clamp(-MAX_LOGIT, MAX_LOGIT)).numpy()

    @cached_property
    def _head(self) -> nn.Module:
        head: nn.Module = self._load().fc  # type: ignore[assignment]  # mypy: a Tensor or a Module
        return head

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """Bare tokens of cases, the case's before its scans', float32 (cases, 1 + scans, dim)."""
        return self._tokens.run(*inputs)


def _case_input(samples: Sequence[Sample]) -> tuple[np.ndarray, ...]:
    case = prepare_case(samples)
    tensors = (case.images, case.marks, case.modalities)
    return tuple(tensor[None].numpy() for tensor in tensors)
