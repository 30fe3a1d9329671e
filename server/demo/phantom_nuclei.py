"""Phantom nuclei: where they lie in the tissue, and their outlines in polar form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from tumorbase.server.demo.phantom_truth import NUCLEUS_TYPES

TUMOUR, LYMPHOCYTE, STROMA = range(len(NUCLEUS_TYPES))
STAMP_PX = 55  # side of the square in which a nucleus is painted
MARGIN_PX = STAMP_PX // 2 + 2
_HARMONICS = np.arange(2, 6)
_GAP_PX = 2.0  # between the bounding circles of two nuclei
_ROUNDS, _CANDIDATES = 5, 900

# Mean minor semi-axis in pixels of 0.5 um, elongation, and relative amplitude of the outline.
_SEMI_PX = np.array([11.0, 6.6, 4.4])
_ELONGATION = np.array([1.25, 1.06, 3.3])
_UNEVENNESS = np.array([0.07, 0.02, 0.03])


@dataclass(frozen=True)
class NucleusMix:
    """What a patient's slide shows: shares of area and nuclei, and how uneven tumour nuclei are."""

    tumour_area: float
    lymphocytes: float  # share among the nuclei that are not tumour
    pleomorphism: float  # factor of unevenness and of the spread of sizes, about 1


@dataclass(frozen=True, eq=False)
class Tissue:
    """Where tissue is and where tumour grows (`nest`), bool; `fibre_angle` in radians; (y, x)."""

    mask: np.ndarray
    nest: np.ndarray
    fibre_angle: np.ndarray


@dataclass(frozen=True, eq=False)
class Nuclei:
    """n nuclei, their outlines in polar form.

    r(t) = 1 / |(cos t / major, sin t / minor)| times each (1 + wave), turned by `angle`.
    `centre_px` is (n, 2) (x, y), integer; `semi_px` (n, 2) major and minor; `waves` (n, 4, 2)
    amplitude and phase of the harmonics 2 to 5.
    """

    centre_px: np.ndarray
    type_index: np.ndarray
    semi_px: np.ndarray
    angle: np.ndarray
    waves: np.ndarray

    def radius_px(self, row: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """Distance from the centre of nucleus `row` to its outline in direction `theta`, float32.

        Both are of any one shape, which is the result's.
        """
        turned = (theta - self.angle[row]).astype(np.float32)
        major, minor = np.moveaxis(self.semi_px.astype(np.float32)[row], -1, 0)
        ellipse = 1 / np.hypot(np.cos(turned) / major, np.sin(turned) / minor)
        waves = self.waves.astype(np.float32)
        for index, order in enumerate(_HARMONICS):
            amplitude, phase = waves[row, index, 0], waves[row, index, 1]
            ellipse = ellipse + ellipse * amplitude * np.cos(order * turned + phase)
        return np.asarray(ellipse)

    def reach_px(self) -> np.ndarray:
        """The greatest radius of each nucleus, float32 (n,)."""
        row, theta = np.indices((len(self.angle), 36))
        return np.asarray(self.radius_px(row, theta * (2 * np.pi / 36)).max(axis=1))


def place_nuclei(rng: np.random.Generator, tissue: Tissue, mix: NucleusMix) -> Nuclei:
    """Nuclei that do not overlap, tumour in the nests, spindles along the fibres."""
    high = np.array(tissue.mask.shape[::-1]) - MARGIN_PX
    nuclei = _draw(rng, np.zeros((0, 2)), tissue, mix)
    for _ in range(_ROUNDS):
        # Candidates in random order; one goes if it touches one that came before it.
        centre_px = np.round(rng.uniform(MARGIN_PX, high, (_CANDIDATES, 2)))
        x, y = centre_px.astype(np.int64).T
        drawn = _draw(rng, centre_px[tissue.mask[y, x]], tissue, mix)
        nuclei = _without_touching(_join(nuclei, drawn))
    return nuclei


def _draw(
    rng: np.random.Generator, centre_px: np.ndarray, tissue: Tissue, mix: NucleusMix
) -> Nuclei:
    """Type, size and outline for each centre (n, 2)."""
    count = len(centre_px)
    x, y = centre_px.astype(np.int64).T
    nest = tissue.nest[y, x]
    is_lymphocyte = rng.random(count) < np.where(nest, 0.12, mix.lymphocytes)
    type_index = np.where(is_lymphocyte, LYMPHOCYTE, np.where(nest, TUMOUR, STROMA))
    uneven = np.where(type_index == TUMOUR, mix.pleomorphism, 1.0)
    minor = _SEMI_PX[type_index] * np.exp(rng.normal(0, 0.1, count) * uneven)
    elongation = _ELONGATION[type_index] * np.exp(np.abs(rng.normal(0, 0.1, count)) * uneven)
    amplitude = (
        rng.normal(0, 1, (count, len(_HARMONICS))) * (_UNEVENNESS[type_index] * uneven)[:, None]
    )
    along = tissue.fibre_angle[y, x] + rng.normal(0, 0.25, count)
    angle = np.where(type_index == STROMA, along, rng.uniform(0, np.pi, count))
    major = np.minimum(minor * elongation, 18.0)
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    waves = np.stack([np.clip(amplitude, -0.1, 0.1), phase], axis=-1)
    return Nuclei(centre_px, type_index, np.stack([major, minor], axis=1), angle, waves)


def _without_touching(nuclei: Nuclei) -> Nuclei:
    reach = nuclei.reach_px()
    pairs = cKDTree(nuclei.centre_px).query_pairs(2 * reach.max() + _GAP_PX, output_type="ndarray")
    distance = np.linalg.norm(nuclei.centre_px[pairs[:, 0]] - nuclei.centre_px[pairs[:, 1]], axis=1)
    touching = pairs[distance < reach[pairs].sum(axis=1) + _GAP_PX]
    return _take(nuclei, np.setdiff1d(np.arange(len(reach)), touching.max(axis=1)))


def _take(nuclei: Nuclei, rows: np.ndarray) -> Nuclei:
    return Nuclei(
        nuclei.centre_px[rows],
        nuclei.type_index[rows],
        nuclei.semi_px[rows],
        nuclei.angle[rows],
        nuclei.waves[rows],
    )


def _join(first: Nuclei, second: Nuclei) -> Nuclei:
    return Nuclei(
        np.concatenate([first.centre_px, second.centre_px]),
        np.concatenate([first.type_index, second.type_index]),
        np.concatenate([first.semi_px, second.semi_px]),
        np.concatenate([first.angle, second.angle]),
        np.concatenate([first.waves, second.waves]),
    )
