"""The built-in patch encoder: stain and texture statistics of stained tissue, no weights."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from tumorbase.models.encoders import EncoderSpec, canonical

# Optical densities (Ruifrok & Johnston 2001, table 1); the residual is along their cross product.
HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
STAINS = ("haematoxylin", "eosin", "residual")
COLOUR_BITS = 5  # a channel, for statistics that know no neighbours: all come of one histogram
COLOUR_LEVELS = 2**COLOUR_BITS
DENSITY_LEVELS = 64
DENSITY_RANGE = {"haematoxylin": (0.0, 2.0), "eosin": (0.0, 2.0), "residual": (-0.5, 0.5)}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
WHITE_DENSITY = 0.15  # mean optical density below which a pixel is glass
SCALES = 4  # gradients at steps of 1, 2, 4 and 8 pixels
GREY_LEVELS = 8  # of the co-occurrence matrices
MAX_GREY_DENSITY = 1.5
OFFSETS_PX = (2, 4)
MIN_SIDE_PX = 16
CHUNK = 4  # patches at once: their planes fit the cache, and reading threads wait less

_LBP_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
_LBP_BINS = 10
_HARALICK = ("contrast", "homogeneity", "energy", "entropy", "correlation")

FEATURES = (
    *(f"{stain}_{name}" for stain in STAINS for name in ("mean", "deviation")),
    *(f"{stain}_q{round(100 * q):02}" for stain in STAINS for q in QUANTILES),
    *(f"{colour}_{name}" for name in ("mean", "deviation") for colour in ("red", "green", "blue")),
    "haematoxylin_eosin_correlation",
    "glass_fraction",
    *(f"lbp_{pattern}" for pattern in range(_LBP_BINS)),
    *(f"gradient_{plane}_{2**s}px" for plane in ("haematoxylin", "grey") for s in range(SCALES)),
    *(f"cooccurrence_{name}_{offset}px" for offset in OFFSETS_PX for name in _HARALICK),
)


class StainTexture:
    """Stain and texture statistics of a patch, raw: queries standardise them by the cohort.

    Stain: mean, deviation and quantiles of the densities after deconvolution with the fixed vectors
    of Ruifrok & Johnston (2001), colour moments, correlation of the two stains, share of glass.
    Texture: rotation-invariant uniform local binary patterns (Ojala et al. 2002, P = 8, R = 1) of
    grey, log mean gradient at four scales, and Haralick's (1973) features of the co-occurrence of
    haematoxylin.
    """

    spec = EncoderSpec(
        name="stain-texture",
        version="1",
        level="patch",
        dim=len(FEATURES),
        weights_sha256=hashlib.sha256(b"").hexdigest(),  # it has none
        preprocessing=canonical(
            {
                "features": FEATURES,
                "stains": [HAEMATOXYLIN, EOSIN],
                "colour_bits": COLOUR_BITS,
                "density_levels": DENSITY_LEVELS,
                "density_range": DENSITY_RANGE,
                "white_density": WHITE_DENSITY,
                "grey_levels": GREY_LEVELS,
                "max_grey_density": MAX_GREY_DENSITY,
            }
        ),
        is_standardised=True,
        feature_names=FEATURES,
    )

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Vectors of patches, each independent of the others.

        Args:
            batch: RGB, uint8 (n, H, W, 3), H and W at least 16.

        Returns:
            float32 (n, dim), finite.

        Raises:
            ValueError: another shape or type.
        """
        patches = np.asarray(batch)
        if len(patches) == 0:
            return np.empty((0, self.spec.dim), dtype=np.float32)
        if patches.dtype != np.uint8 or patches.ndim != 4 or patches.shape[3] != 3:
            raise ValueError(f"expected uint8 (n, H, W, 3), got {patches.dtype} {patches.shape}")
        if min(patches.shape[1:3]) < MIN_SIDE_PX:
            raise ValueError(f"a patch side must be at least {MIN_SIDE_PX}, got {patches.shape}")
        chunks = [_statistics(patches[i : i + CHUNK]) for i in range(0, len(patches), CHUNK)]
        return np.concatenate(chunks)


def _statistics(patches: np.ndarray) -> np.ndarray:
    """All features of a few patches, uint8 (n, H, W, 3): float32 (n, dim)."""
    colour = _colour_index(patches)
    tables = _tables()
    haematoxylin = tables.haematoxylin.take(colour)  # uint8 (n, H, W)
    grey = _grey(patches)
    features = [
        *_stain_features(colour),
        _binary_patterns(grey),
        _gradients(haematoxylin),
        _gradients(grey),
        *(_cooccurrence(haematoxylin, offset) for offset in OFFSETS_PX),
    ]
    return np.concatenate(features, axis=1).astype(np.float32)


class _Tables:
    """What each quantised colour means: computed once, indexed by `_colour_index`."""

    def __init__(self) -> None:
        levels = (np.arange(COLOUR_LEVELS) + 0.5) / COLOUR_LEVELS
        self.intensity = levels
        self.density = -np.log10(levels)  # optical, of one channel
        red, green, blue = np.meshgrid(*[self.density] * 3, indexing="ij")
        optical = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
        stains = optical @ _separation()  # (colours, stains)
        self.by_stain = [
            _sorted_by_level(_quantised(stains[:, i], *DENSITY_RANGE[stain]))
            for i, stain in enumerate(STAINS)
        ]
        self.is_glass = np.flatnonzero(optical.mean(axis=1) < WHITE_DENSITY)
        haematoxylin = np.clip(stains[:, 0], 0.0, MAX_GREY_DENSITY)
        self.haematoxylin = np.rint(haematoxylin * (255.0 / MAX_GREY_DENSITY)).astype(np.uint8)


def _sorted_by_level(level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colours in the order of their level; where each level begins, and whether none has it."""
    order = np.argsort(level, kind="stable")
    first = np.searchsorted(level[order], np.arange(DENSITY_LEVELS))
    is_empty = np.bincount(level, minlength=DENSITY_LEVELS) == 0
    return (
        order,
        np.minimum(first, len(order) - 1),
        is_empty,
    )  # reduceat takes no index past the end


@cache
def _tables() -> _Tables:
    return _Tables()


def _separation() -> np.ndarray:
    """From optical densities to stain densities, float64 (3, 3)."""
    first, second = np.array(HAEMATOXYLIN), np.array(EOSIN)
    vectors = np.stack([first, second, np.cross(first, second)])
    return np.linalg.inv(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _quantised(values: np.ndarray, low: float, high: float) -> np.ndarray:
    levels = np.floor((values - low) * (DENSITY_LEVELS / (high - low)))
    return np.clip(levels, 0, DENSITY_LEVELS - 1).astype(np.int64)


def _colour_index(patches: np.ndarray) -> np.ndarray:
    """Each pixel's quantised colour, uint16 (n, H, W)."""
    shift = 8 - COLOUR_BITS
    red, green, blue = (patches[..., c].astype(np.uint16) >> shift for c in range(3))
    return (red << (2 * COLOUR_BITS)) | (green << COLOUR_BITS) | blue


def _grey(patches: np.ndarray) -> np.ndarray:
    """(red + 2 green + blue) / 4, uint8 (n, H, W)."""
    red, green, blue = (patches[..., c].astype(np.uint16) for c in range(3))
    return ((red + 2 * green + blue) >> 2).astype(np.uint8)


def _counts(index: np.ndarray, bins: int) -> np.ndarray:
    """Histogram of each patch of an index (n, ...): float64 (n, bins), sum 1."""
    flat = index.reshape(len(index), -1)
    offset = np.arange(len(flat), dtype=np.int64)[:, None] * bins
    counts = np.bincount((flat + offset).ravel(), minlength=len(flat) * bins)
    return counts.reshape(len(flat), bins) / flat.shape[1]


def _stain_features(colour: np.ndarray) -> list[np.ndarray]:
    """Features that know no neighbours, from the histogram of colours.

    Stain densities are linear in the optical densities of the channels, so that their moments come
    of those of the channels and of pairs of channels.
    """
    tables = _tables()
    counts = _counts(colour, COLOUR_LEVELS**3)
    cube = counts.reshape(-1, COLOUR_LEVELS, COLOUR_LEVELS, COLOUR_LEVELS)
    pairs = {(0, 1): cube.sum(axis=3), (0, 2): cube.sum(axis=2), (1, 2): cube.sum(axis=1)}
    channels = [pairs[0, 1].sum(axis=2), pairs[0, 1].sum(axis=1), pairs[1, 2].sum(axis=1)]
    colour_mean, colour_variance = _moments(channels, tables.intensity)
    optical_mean, optical_variance = _moments(channels, tables.density)
    covariance = np.zeros((len(colour), 3, 3))
    covariance[:, range(3), range(3)] = optical_variance
    for (i, j), pair in pairs.items():
        product = (pair * np.multiply.outer(tables.density, tables.density)).sum(axis=(1, 2))
        covariance[:, i, j] = covariance[:, j, i] = (
            product - optical_mean[:, i] * optical_mean[:, j]
        )
    separation = _separation()
    mean = optical_mean @ separation
    covariance = separation.T @ covariance @ separation
    deviation = np.sqrt(np.maximum(covariance[:, range(3), range(3)], 0.0))
    spread = deviation[:, 0] * deviation[:, 1]
    correlation = np.divide(
        covariance[:, 0, 1], spread, out=np.zeros_like(spread), where=spread > 1e-9
    )
    return [
        np.stack([mean, deviation], axis=2).reshape(len(colour), -1),
        _quantiles(counts),
        colour_mean,
        np.sqrt(colour_variance),
        np.clip(correlation, -1.0, 1.0)[:, None],
        counts[:, tables.is_glass].sum(axis=1, keepdims=True),
    ]


def _moments(channels: list[np.ndarray], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of `values` under each channel's histogram (n, levels): (n, channels)."""
    mean = np.stack([(shares * values).sum(axis=1) for shares in channels], axis=1)
    square = np.stack([(shares * values**2).sum(axis=1) for shares in channels], axis=1)
    return mean, np.maximum(square - mean**2, 0.0)


def _quantiles(counts: np.ndarray) -> np.ndarray:
    """Quantiles of each stain, at the middle of their level: (n, stains x quantiles)."""
    tables = _tables()
    densities = []
    for stain, (order, first, is_empty) in zip(STAINS, tables.by_stain, strict=True):
        level_shares = np.add.reduceat(counts[:, order], first, axis=1)
        shares = np.cumsum(np.where(is_empty, 0.0, level_shares), axis=1)
        reached = shares[:, None, :] >= np.array(QUANTILES)[:, None] - 1e-9
        low, high = DENSITY_RANGE[stain]
        densities.append(low + (reached.argmax(axis=2) + 0.5) * ((high - low) / DENSITY_LEVELS))
    return np.concatenate(densities, axis=1)


@cache
def _pattern_bins() -> np.ndarray:
    """From the eight comparisons as bits to the uniform pattern 0 to 8, or 9 for all others."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), _LBP_BINS - 1).astype(np.uint8)


def _binary_patterns(grey: np.ndarray) -> np.ndarray:
    """Shares of the rotation-invariant uniform patterns, (n, 10)."""
    height, width = grey.shape[1:]
    centre = grey[:, 1:-1, 1:-1]
    code = np.zeros(centre.shape, dtype=np.uint8)
    for bit, (dy, dx) in enumerate(_LBP_NEIGHBOURS):
        neighbour = grey[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]
        code |= (neighbour >= centre).view(np.uint8) << bit
    codes = _counts(code, 256)
    return codes @ np.eye(_LBP_BINS)[_pattern_bins()]


def _gradients(plane: np.ndarray) -> np.ndarray:
    """log(1 + mean absolute difference) of neighbours at each scale: (n, SCALES)."""
    at_scale = plane.astype(np.float32)
    energies = []
    for _ in range(SCALES):
        down = np.abs(np.diff(at_scale, axis=1)).mean(axis=(1, 2), dtype=np.float64)
        across = np.abs(np.diff(at_scale, axis=2)).mean(axis=(1, 2), dtype=np.float64)
        energies.append(np.log1p(down + across))
        at_scale = _halved(at_scale)
    return np.stack(energies, axis=1)


def _halved(plane: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in plane.shape[1:])
    rows = plane[:, 0:height:2, :width] + plane[:, 1:height:2, :width]
    return (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)


def _cooccurrence(haematoxylin: np.ndarray, offset_px: int) -> np.ndarray:
    """Haralick features at an offset to the right and downwards, on every second pixel: (n, 5)."""
    level = (haematoxylin[:, ::2, ::2] >> (8 - int(math.log2(GREY_LEVELS)))).astype(np.uint8)
    step = offset_px // 2
    right = level[:, :, :-step] * GREY_LEVELS + level[:, :, step:]
    down = level[:, :-step, :] * GREY_LEVELS + level[:, step:, :]
    counts = _counts(right, GREY_LEVELS**2) + _counts(down, GREY_LEVELS**2)
    pairs = counts.reshape(-1, GREY_LEVELS, GREY_LEVELS)
    pairs = (pairs + pairs.transpose(0, 2, 1)) / 4.0  # symmetric, sum 1
    i, j = np.indices((GREY_LEVELS, GREY_LEVELS))
    marginal = pairs.sum(axis=2)
    grey = np.arange(GREY_LEVELS)
    mean = marginal @ grey
    variance = marginal @ grey**2 - mean**2
    covariance = (pairs * (i * j)).sum(axis=(1, 2)) - mean**2
    is_flat = variance < 1e-9
    correlation = np.where(is_flat, 1.0, covariance / np.where(is_flat, 1.0, variance))
    logarithm = np.log2(pairs, out=np.zeros_like(pairs), where=pairs > 0)
    features = [
        (pairs * (i - j) ** 2).sum(axis=(1, 2)),
        (pairs / (1.0 + (i - j) ** 2)).sum(axis=(1, 2)),
        (pairs**2).sum(axis=(1, 2)),
        -(pairs * logarithm).sum(axis=(1, 2)),
        correlation,
    ]
    return np.stack(features, axis=1)
