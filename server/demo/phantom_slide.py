"""Phantom H&E slides: tissue, nuclei and pen marks as stains, written as a pyramidal TIFF."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

from tumorbase.server.demo.phantom_nuclei import (
    STAMP_PX,
    TUMOUR,
    Nuclei,
    NucleusMix,
    Tissue,
    place_nuclei,
)
from tumorbase.server.demo.phantom_truth import NUCLEUS_TYPES, PatientTruth, SlideTruth

MPP = 0.5
SIDE_PX = 1536
_LEVELS = 3
_TILE_PX = 256
_OUTLINE_POINTS = 40

# Absorbance (base 10) per unit of stain in (R, G, B): Macenko et al. 2009, reference H and E.
_HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062], dtype=np.float32)
_EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)
_PEN_INKS = {"blue": (1.1, 0.75, 0.12), "green": (1.0, 0.25, 0.8), "black": (1.3, 1.3, 1.25)}

# HoVer-Net's PanNuke classes (its type_info.json) that the three phantom types stand for.
HOVERNET_TYPE = {"tumour": 1, "lymphocyte": 2, "stroma": 3}  # neopla, inflam, connec


@dataclass(frozen=True, eq=False)
class Slide:
    """`rgb` uint8 (height, width, 3) at level 0, `labels` int32 of the same grid, and its truth."""

    rgb: np.ndarray
    labels: np.ndarray
    truth: SlideTruth


def draw_slide(rng: np.random.Generator, patient: PatientTruth, has_pen_mark: bool) -> Slide:
    """One patient's slide; its mix of nuclei follows the subtype and the risk."""
    mix = _mix(patient)
    tissue = _draw_tissue(rng, mix.tumour_area)
    nuclei = place_nuclei(rng, tissue, mix)
    labels, haematoxylin_in_nuclei = _paint_nuclei(rng, nuclei)
    haematoxylin, eosin = _stain_tissue(rng, tissue)
    haematoxylin = np.where(labels > 0, haematoxylin_in_nuclei, haematoxylin)
    eosin[labels > 0] *= 0.5
    absorbance = haematoxylin[..., None] * _HAEMATOXYLIN + eosin[..., None] * _EOSIN
    if has_pen_mark:
        _draw_pen(rng, absorbance)
    light = 243.0 * np.exp(-np.log(10).astype(np.float32) * absorbance)
    light += 1.5 * _grain(rng, 0.0)[..., None]
    rgb = np.clip(light, 0, 255).astype(np.uint8)
    return Slide(rgb, labels, _truth(patient, nuclei, labels, has_pen_mark))


def _mix(patient: PatientTruth) -> NucleusMix:
    """Tumour area by subtype, fewer lymphocytes and more uneven nuclei at higher risk."""
    area = {"lung": 0.35, "liver": 0.7, "kidney": 0.52}[patient.subtype]
    return NucleusMix(
        tumour_area=float(np.clip(area + 0.04 * patient.risk, 0.2, 0.85)),
        lymphocytes=float(np.clip(0.42 - 0.16 * patient.risk, 0.05, 0.85)),
        pleomorphism=float(np.exp(0.3 * patient.risk)),
    )


def _field(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise of about unit deviation with `cells` waves a side, float32 (side, side)."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def _grain(rng: np.random.Generator, sigma_px: float | tuple[float, float]) -> np.ndarray:
    """Fine noise of unit deviation, float32 (side, side): one seamless quarter, four times."""
    noise = rng.standard_normal((SIDE_PX // 2, SIDE_PX // 2), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, sigma_px, mode="wrap", truncate=2.5)
    return np.tile(noise / noise.std(), (2, 2))


def _draw_tissue(rng: np.random.Generator, tumour_area: float) -> Tissue:
    """One piece of tissue with an uneven edge and a few tears, `tumour_area` of it nests."""
    at = np.linspace(-1, 1, SIDE_PX, dtype=np.float32)
    centre = rng.uniform(-0.08, 0.08, 2)
    rho2 = ((at[:, None] - centre[0]) / 0.88) ** 2 + ((at[None] - centre[1]) / 0.84) ** 2
    edge = 1 - rho2 + 0.22 * _field(rng, 7) + 0.05 * _field(rng, 40)
    mask = (edge > 0) & (_field(rng, 16) < 1.9)
    nest_field = _field(rng, 10)
    nest = nest_field > np.quantile(nest_field[mask][::16], 1 - tumour_area)
    return Tissue(mask, nest, np.pi * _field(rng, 4))


def _stain_tissue(rng: np.random.Generator, tissue: Tissue) -> tuple[np.ndarray, np.ndarray]:
    """Haematoxylin and eosin between the nuclei, float32 (side, side) each."""
    is_nest = ndimage.uniform_filter(tissue.nest.astype(np.float32), 9)
    fibres = np.abs(_grain(rng, (2.0, 9.0))) + 0.5 * _field(rng, 60)
    mottle = _grain(rng, 2.5)
    eosin = (1 - is_nest) * (0.21 + 0.055 * fibres) + is_nest * (0.15 + 0.018 * mottle)
    haematoxylin = (1 - is_nest) * 0.035 + is_nest * (0.10 + 0.015 * mottle)
    soft = ndimage.uniform_filter(tissue.mask.astype(np.float32), 5)
    return soft * np.clip(haematoxylin, 0, None), soft * np.clip(eosin, 0.02, None)


def _paint_nuclei(rng: np.random.Generator, nuclei: Nuclei) -> tuple[np.ndarray, np.ndarray]:
    """Label image int32 (1..n) and haematoxylin float32, painted as one stack of stamps."""
    half = STAMP_PX // 2
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1)
    count = len(nuclei.centre_px)
    # Only the pixels that may lie inside: in the stamp and within the nucleus's reach.
    nucleus, at = np.nonzero(np.hypot(dy, dx)[None] <= nuclei.reach_px()[:, None] + 0.5)
    depth = nuclei.radius_px(nucleus, np.arctan2(dy, dx)[at]) - np.hypot(dy, dx)[at]
    inside = depth >= 0
    nucleus, at, depth = nucleus[inside], at[inside], depth[inside]
    x, y = (nuclei.centre_px[nucleus].astype(np.int64) + np.stack([dx[at], dy[at]], axis=1)).T
    labels = np.zeros((SIDE_PX, SIDE_PX), dtype=np.int32)
    labels[y, x] = nucleus + 1
    kind = nuclei.type_index[nucleus]
    base = np.array([0.40, 0.92, 0.66])[kind] * rng.normal(1, 0.08, count)[nucleus]
    chromatin = np.array([0.10, 0.10, 0.06])[kind] * _grain(rng, 1.5)[y, x]
    rim = np.where(kind == TUMOUR, 0.20, 0.05) * np.exp(-depth / 1.5)
    spot = rng.uniform(-3, 3, (count, 2))[nucleus]  # a nucleolus
    nucleolus = np.where(kind == TUMOUR, 0.5, 0.0) * (
        np.hypot(dx[at] - spot[:, 0], dy[at] - spot[:, 1]) < 2.2
    )
    stain = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    stain[y, x] = np.clip(base + chromatin + rim + nucleolus, 0.15, 1.4)
    return labels, stain


def _draw_pen(rng: np.random.Generator, absorbance: np.ndarray) -> None:
    """A felt-tip stroke along a corner of the glass, added to the absorbance in place."""
    ink = _PEN_INKS[str(rng.choice(sorted(_PEN_INKS)))]
    corner = rng.choice((0, SIDE_PX), 2)
    y, x = np.ogrid[:SIDE_PX, :SIDE_PX]
    distance = np.hypot(y - corner[0], x - corner[1]) + 14 * _field(rng, 12)
    stroke = (np.abs(distance - 0.36 * SIDE_PX) < 26).astype(np.float32)
    absorbance += ndimage.uniform_filter(stroke, 5)[..., None] * np.array(ink, dtype=np.float32)


def _truth(
    patient: PatientTruth, nuclei: Nuclei, labels: np.ndarray, has_pen_mark: bool
) -> SlideTruth:
    count = len(nuclei.centre_px)
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    y, x = np.nonzero(labels)
    of = labels[y, x] - 1
    centroid = np.stack([np.bincount(of, axis, count) / area for axis in (x, y)], axis=1)
    return SlideTruth(
        slide_id=patient.patient_id,
        patient_id=patient.patient_id,
        mpp=MPP,
        has_pen_mark=has_pen_mark,
        centroid_px=centroid,
        area_px=area,
        type_index=nuclei.type_index,
        outlines=_outlines(nuclei),
    )


def _outlines(nuclei: Nuclei) -> tuple[np.ndarray, ...]:
    """Closed polygons on whole pixels, without repeated points."""
    row, step = np.indices((len(nuclei.centre_px), _OUTLINE_POINTS))
    theta = step * (2 * np.pi / _OUTLINE_POINTS)
    toward = np.stack([np.cos(theta), np.sin(theta)], axis=-1)  # (n, points, 2)
    points = nuclei.centre_px[:, None] + nuclei.radius_px(row, theta)[..., None] * toward
    points = np.round(points).astype(np.int64)
    is_new = (points != np.roll(points, 1, axis=1)).any(axis=-1)
    return tuple(np.split(points[is_new], np.cumsum(is_new.sum(axis=1))[:-1]))


def write_slide(path: Path, rgb: np.ndarray) -> None:
    """A tiled pyramid that OpenSlide opens as generic-tiff, with the resolution in its tags."""
    with tifffile.TiffWriter(path) as tiff:
        level = rgb
        for index in range(_LEVELS):
            tiff.write(
                level,
                tile=(_TILE_PX, _TILE_PX),
                photometric="rgb",
                compression="zlib",
                compressionargs={"level": 1},
                subfiletype=1 if index else 0,
                resolution=(1e4 / (MPP * 2**index),) * 2,
                resolutionunit="CENTIMETER",
                software=False,
                metadata=None,
            )
            level = _halved(level)


def _halved(rgb: np.ndarray) -> np.ndarray:
    height, width, _ = rgb.shape
    blocks = rgb.reshape(height // 2, 2, width // 2, 2, 3)
    return np.asarray(np.round(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8))


def write_hovernet(path: Path, truth: SlideTruth) -> None:
    """The true nuclei as HoVer-Net writes its own: one JSON, contours (x, y) at 20x."""
    nuclei = {
        str(number + 1): {
            "bbox": [outline.min(axis=0)[::-1].tolist(), (outline.max(axis=0)[::-1] + 1).tolist()],
            "centroid": centroid.tolist(),
            "contour": outline.tolist(),
            "type_prob": 1.0,
            "type": HOVERNET_TYPE[NUCLEUS_TYPES[kind]],
        }
        for number, (outline, centroid, kind) in enumerate(
            zip(truth.outlines, truth.centroid_px, truth.type_index, strict=True)
        )
    }
    path.write_text(json.dumps({"mag": 10 / truth.mpp, "nuc": nuclei}), encoding="utf-8")
