"""Microseconds a nucleus of measure_nuclei and of regionprops_table, on the same label maps.

Run as `python benchmarks/nucleus_shape.py`; real tiles come from `$TUMORBASE_SHARED` or ../shared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from skimage.io import imread
from skimage.measure import regionprops_table

from tumorbase.models.nucleus_shape import FEATURES, measure_nuclei

ROOT = Path(__file__).resolve().parents[1]
PROPERTIES = ("label", *dict.fromkeys(f.removesuffix("-0").removesuffix("-1") for f in FEATURES))
LARGE_SIDE_PX = 2048


def tiles(folder: Path) -> dict[str, list[np.ndarray]]:
    """Label maps of DSB2018 and CoNSeP, and one of 2,048 px a side tiled from the latter."""
    dsb2018 = [imread(p) for p in sorted(folder.glob("nuclei_dsb2018/*_labels.png"))]
    consep = [np.load(p)["inst_map"] for p in sorted(folder.glob("nuclei_consep/*_inst.npz"))]
    dense = [tile for tile in consep if len(np.unique(tile)) > 40]
    middling = min(consep, key=lambda tile: abs(len(np.unique(tile)) - 51))
    return {
        "DSB2018, 6 tiles": dsb2018,
        "CoNSeP, 6 tiles": consep,
        "CoNSeP, one tile": [middling],
        "2,048 px, tiled": [tiled(dense)],
    }


def tiled(maps: list[np.ndarray]) -> np.ndarray:
    """Maps side by side, over and over, to LARGE_SIDE_PX; each nucleus has a label of its own."""
    side = maps[0].shape[0]
    labels = np.zeros((LARGE_SIDE_PX, LARGE_SIDE_PX), dtype=np.int32)
    highest = 0
    for i, corner in enumerate(np.ndindex(LARGE_SIDE_PX // side, LARGE_SIDE_PX // side)):
        tile = maps[i % len(maps)].astype(np.int32)
        row, column = corner[0] * side, corner[1] * side
        labels[row : row + side, column : column + side] = np.where(tile, tile + highest, 0)
        highest += int(tile.max())
    return labels


def fastest_seconds(measure: Callable[[np.ndarray], object], labels: np.ndarray, n: int) -> float:
    """Shortest of `n` runs."""
    seconds = []
    for _ in range(n):
        start = time.perf_counter()
        measure(labels)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def peer(labels: np.ndarray) -> dict[str, np.ndarray]:
    """The same columns by scikit-image."""
    return regionprops_table(labels, properties=PROPERTIES)


def microseconds_a_nucleus(maps: Iterable[np.ndarray], nuclei: int) -> tuple[float, float]:
    """Ours and scikit-image's, summed over the maps, after each has agreed with the other."""
    ours = theirs = 0.0
    for labels in maps:
        table, expected = measure_nuclei(labels), peer(labels)
        for name, values in expected.items():
            np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-6, err_msg=name)
        ours += fastest_seconds(measure_nuclei, labels, 30)
        theirs += fastest_seconds(peer, labels, 1 if labels.size > 10**6 else 3)
    return 1e6 * ours / nuclei, 1e6 * theirs / nuclei


def main() -> None:
    """Print a line for each set of label maps."""
    shared = Path(os.environ.get("TUMORBASE_SHARED", ROOT.parent / "shared"))
    print(f"{'labels':<18}{'nuclei':>8}{'measure_nuclei':>16}{'regionprops_table':>19}{'ratio':>8}")
    for name, maps in tiles(shared / "data" / "pathology").items():
        nuclei = sum(measure_nuclei(labels).num_rows for labels in maps)
        ours, theirs = microseconds_a_nucleus(maps, nuclei)
        print(f"{name:<18}{nuclei:>8}{ours:>13.2f} us{theirs:>16.1f} us{theirs / ours:>7.0f}x")


if __name__ == "__main__":
    main()
