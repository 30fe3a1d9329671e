"""Seconds of HoVer-Net's post-processing of a tile of 2,048 px, beside the calls of OpenCV, SciPy
and scikit-image that make up the reference's; the label maps are identical.

    python benchmarks/hovernet_post.py

Maps are the network's targets for real nuclei (CoNSeP), softened and with noise. Ours includes the
nuclei's shapes; the peer's stops at the label map, and what scikit-image takes for the shapes is
stated apart.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import regionprops_table
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from tumorbase.models.hovernet_post import instances
from tumorbase.models.hovernet_targets import hv_target
from tumorbase.models.nucleus_shape import FEATURES

SIDE_PX = 2048
NR_TYPES = 5
PROPERTIES = tuple(dict.fromkeys(f.removesuffix("-0").removesuffix("-1") for f in FEATURES))


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    beside = Path(__file__).resolve().parents[2] / "shared"
    default = Path(os.environ.get("TUMORBASE_SHARED", beside))
    parser.add_argument("--shared", type=Path, default=default)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    *maps, types = predicted_maps(dense_tile(options.shared, SIDE_PX), options.noise)
    labels = peer(*maps)
    np.testing.assert_array_equal(instances(*maps).labels, labels)
    seconds = fastest(lambda: instances(*maps), options.repeats)
    typed_seconds = fastest(lambda: instances(*maps, types, NR_TYPES), options.repeats)
    peer_seconds = fastest(lambda: peer(*maps), options.repeats)
    shape_seconds = fastest(lambda: regionprops_table(labels, properties=PROPERTIES), 1)
    nuclei = len(np.unique(labels)) - 1
    report = {
        "nuclei": nuclei,
        "identical": True,
        "seconds": round(seconds, 4),
        "seconds_with_types": round(typed_seconds, 4),
        "peer_seconds": round(peer_seconds, 4),
        "ratio": round(peer_seconds / seconds, 2),
        "nuclei_per_second_with_shapes": round(nuclei / seconds),
        "peer_nuclei_per_second_with_shapes": round(nuclei / (peer_seconds + shape_seconds)),
    }
    print(json.dumps(report, indent=1))


def dense_tile(shared: Path, side_px: int) -> np.ndarray:
    """A label map of `side_px`, int32: the densest CoNSeP tiles side by side, turned."""
    files = sorted(shared.glob("data/pathology/nuclei_consep/*_inst.npz"))
    maps = [np.load(file)["inst_map"].astype(np.int32) for file in files]
    maps = sorted(maps, key=lambda labels: -len(np.unique(labels)))[:4]
    step = maps[0].shape[0]
    tile = np.zeros((side_px, side_px), dtype=np.int32)
    for i, (row, column) in enumerate(np.ndindex(side_px // step, side_px // step)):
        labels = np.rot90(maps[i % len(maps)], i // len(maps))
        place = tile[row * step : (row + 1) * step, column * step : (column + 1) * step]
        place[:] = np.where(labels, labels + tile.max(), 0)
    return tile


def predicted_maps(labels: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps as a network would predict them: (H, W), (H, W, 2), and types (H, W)."""
    random = np.random.default_rng(0)

    def spots(shape: tuple[int, ...]) -> np.ndarray:
        sigma = (1.5, 1.5, 0.0)[: len(shape)]
        return 5.0 * noise * ndimage.gaussian_filter(random.standard_normal(shape), sigma)

    probability = ndimage.gaussian_filter((labels > 0).astype(np.float64), 0.8)
    probability = np.clip(probability + spots(labels.shape), 0.0, 1.0).astype(np.float32)
    distances = np.moveaxis(hv_target(labels), 0, -1)  # (H, W, 2)
    distances = (distances + spots(distances.shape)).astype(np.float32)
    types = np.where(labels > 0, labels % (NR_TYPES - 1) + 1, 0)
    return probability, distances, types


def peer(probability: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The label map by the calls that `reference/hovernet/spec.md` lists."""
    foreground = remove_small_objects(ndimage.label(probability >= 0.5)[0], max_size=9) > 0
    foreground = foreground.astype(np.int32)
    falls = []
    for channel, (dx, dy) in enumerate(((1, 0), (0, 1))):
        unit = _min_max(np.ascontiguousarray(distances[..., channel]))
        falls.append(1 - _min_max(cv2.Sobel(unit, cv2.CV_64F, dx, dy, ksize=21)))
    overall = np.maximum(*falls) - (1 - foreground)
    overall[overall < 0] = 0
    dist = -cv2.GaussianBlur((1.0 - overall) * foreground, (3, 3), 0)
    marker = foreground - (overall >= 0.4).astype(np.int32)
    marker[marker < 0] = 0
    marker = ndimage.binary_fill_holes(marker).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    marker = ndimage.label(cv2.morphologyEx(marker, cv2.MORPH_OPEN, kernel))[0]
    marker = remove_small_objects(marker, max_size=9)
    return watershed(dist, markers=marker, mask=foreground)


def _min_max(values: np.ndarray) -> np.ndarray:
    return cv2.normalize(values, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


def fastest(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(repeats):
        started = perf_counter()
        run()
        seconds.append(perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
