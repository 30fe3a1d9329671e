"""Principal components of genomic profiles, fitted on the table that they come from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np

from tumorbase.models.encoders import EncoderSpec, canonical

MAX_COMPONENTS = 32
# Loadings are rounded to this many decimals, so that the last bits of another machine's linear
# algebra do not make another encoder.
_DECIMALS = 6


class GenePca:
    """Encodes profiles by the principal components of standardised columns.

    As in Jolliffe 2002, section 2.3. A missing value counts as its column's mean. Components are
    ordered by variance; the sign is such that the loading of largest size is positive.
    """

    def __init__(
        self, panel: Sequence[str], mean: np.ndarray, scale: np.ndarray, loadings: np.ndarray
    ) -> None:
        """The encoder of these weights.

        Args:
            panel: names of the columns.
            mean: float32 (columns,).
            scale: standard deviations, float32 (columns,); 1 where a column is constant.
            loadings: float32 (columns, components), columns of unit length.
        """
        self._mean, self._scale, self._loadings = mean, scale, loadings
        self.artefact = _to_bytes(panel, mean, scale, loadings)
        self.spec = EncoderSpec(
            name="gene-pca",
            version="1",
            level="profile",
            dim=loadings.shape[1],
            weights_sha256=hashlib.sha256(self.artefact).hexdigest(),
            preprocessing=canonical({"columns": "standardised", "decimals": _DECIMALS}),
            is_standardised=True,
            feature_names=tuple(f"pc{index + 1}" for index in range(loadings.shape[1])),
        )

    @classmethod
    def fit(cls, panel: Sequence[str], profiles: np.ndarray) -> GenePca:
        """The components of these profiles: at most 32, and less than there are profiles.

        Args:
            panel: names of the columns.
            profiles: float (profiles, columns), NaN where a value is missing.

        Raises:
            ValueError: fewer than 3 profiles, another number of columns, or nothing varies.
        """
        measured = np.asarray(profiles, dtype=np.float64)
        if measured.ndim != 2 or measured.shape[0] < 3 or measured.shape[1] != len(panel):
            raise ValueError(
                f"expected at least 3 profiles of {len(panel)} columns, got {measured.shape}"
            )
        if np.isinf(measured).any():
            raise ValueError("profiles must hold finite values or NaN, got infinity")
        mean, scale = _moments(measured)
        centred = _standardise(measured, mean, scale)  # (profiles, columns)
        # The Gram matrix has the size of the profiles, which are far fewer than the genes.
        variances, directions = np.linalg.eigh(centred @ centred.T)
        order = np.argsort(variances)[::-1][: min(MAX_COMPONENTS, len(measured) - 1)]
        order = order[variances[order] > 1e-9 * max(variances.max(), 1e-300)]
        if variances.max() <= 0.0 or not len(order):
            raise ValueError("no column varies between the profiles")
        loadings = centred.T @ directions[:, order] / np.sqrt(variances[order])
        largest = np.abs(loadings).argmax(axis=0)
        loadings *= np.sign(loadings[largest, np.arange(loadings.shape[1])])
        return cls(panel, mean, scale, _rounded(loadings))

    @classmethod
    def from_bytes(cls, artefact: bytes) -> GenePca:
        """The encoder whose `artefact` this was."""
        with np.load(io.BytesIO(artefact), allow_pickle=False) as stored:
            panel = stored["panel"].tobytes().decode().split("\n")
            return cls(panel, stored["mean"], stored["scale"], stored["loadings"])

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Component scores.

        Args:
            batch: profiles, float (columns of the panel,), NaN where a value is missing.

        Returns:
            float32 (batch, components).

        Raises:
            ValueError: the profiles are not of the panel, or hold an infinite value.
        """
        measured = np.asarray(batch, dtype=np.float64)  # (batch, columns)
        if measured.ndim != 2 or measured.shape[1] != len(self._mean):
            raise ValueError(
                f"profiles must have {len(self._mean)} values, got shape {measured.shape}"
            )
        if np.isinf(measured).any():
            raise ValueError("profiles must hold finite values or NaN, got infinity")
        scores = _standardise(measured, self._mean, self._scale) @ self._loadings.astype(np.float64)
        return scores.astype(np.float32)


def _moments(measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the values that are there, float32."""
    is_there = np.isfinite(measured)
    counts = np.maximum(is_there.sum(axis=0), 1)
    mean = np.where(is_there, measured, 0.0).sum(axis=0) / counts
    deviations = np.where(is_there, measured - mean, 0.0)
    scale = np.sqrt((deviations**2).sum(axis=0) / counts)
    return _rounded(mean), _rounded(np.where(scale > 1e-5, scale, 1.0))


def _standardise(measured: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    standardised = (measured - mean.astype(np.float64)) / scale.astype(np.float64)
    return np.where(np.isfinite(standardised), standardised, 0.0)


def _rounded(values: np.ndarray) -> np.ndarray:
    # Adding 0 turns -0 into 0, which has other bytes.
    return np.round(values, _DECIMALS).astype(np.float32) + np.float32(0.0)


def _to_bytes(
    panel: Sequence[str], mean: np.ndarray, scale: np.ndarray, loadings: np.ndarray
) -> bytes:
    names = np.frombuffer("\n".join(panel).encode(), dtype=np.uint8)
    sink = io.BytesIO()
    np.savez(sink, panel=names, mean=mean, scale=scale, loadings=loadings)
    return sink.getvalue()
