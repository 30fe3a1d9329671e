"""Cases of RP3D-DiagDS, the data set of RadNet: their scans, key slices and diagnoses.

Source: Zheng et al., Nature Communications 15:10147, Methods; qiaoyu-zheng/RP3D-Diag@7bdbbbb,
RP3D_Demo/Dataset/dataset.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tumorbase.models.scan_preparation import (
    MAX_SLICES,
    MODALITY_IDS,
    Case,
    Sample,
    prepare_case,
)


@dataclass(frozen=True, eq=False)
class Rp3dCase:
    """A case, and what is known of it."""

    scans: Case
    key_slices: Tensor  # the slice of each scan that shows most, int64 (scans,)
    disorders: frozenset[str]  # titles of articles of Radiopaedia
    icd10cm: frozenset[str]  # categories such as S82


def read_rp3d_case(entry: Mapping[str, Any], data: Path, keys: Path) -> Rp3dCase:
    """One case of the data set's JSON file.

    Args:
        entry: what the file says of the case.
        data: folder of images, `NUMBER.npy` (height, width, slices), grey values.
        keys: folder of key slices, `NUMBER.npy` (1,), indices.

    Raises:
        ValueError: a file is missing (the message names all that are), or as `prepare_case`.
    """
    samples = list(zip(entry["Modalities"], entry["Samples"], strict=True))
    files = [list(_files(modality, sample, data, keys)) for modality, sample in samples]
    missing = [
        path for of_sample in files for pair in of_sample for path in pair if not path.is_file()
    ]
    if missing:
        raise ValueError(f"files of the case are missing: {', '.join(map(str, missing))}")
    scans = [
        Sample(modality, [np.load(image).transpose(2, 0, 1) for image, _ in of_sample])
        for (modality, _), of_sample in zip(samples, files, strict=True)
    ]
    depths = (len(scan) for sample in scans for scan in sample.scans)
    key_files = (key for of_sample in files for _, key in of_sample)
    return Rp3dCase(
        prepare_case(scans),
        torch.tensor(
            [_kept(int(np.load(key)[0]), d) for key, d in zip(key_files, depths, strict=True)]
        ),
        frozenset(name for _, sample in samples for name in sample["articles"]),
        frozenset(code for _, sample in samples for code in sample["icd10s"]),
    )


def label_vector(names: Iterable[str], classes: Mapping[str, int]) -> Tensor:
    """1 at the classes that are named, else 0, float32 (classes,); other names are passed over.

    Args:
        names: disorders or codes.
        classes: the place of each, from 0, without a gap.
    """
    labels = torch.zeros(len(classes))
    labels[[classes[name] for name in names if name in classes]] = 1
    return labels


def _files(
    modality: str, sample: Mapping[str, Any], data: Path, keys: Path
) -> Iterator[tuple[Path, Path]]:
    """Image and key slice of each scan that is used; the JSON names its authors' folders."""
    pairs = zip(sample["image_data_path"], sample["image_key_path"], strict=True)
    for image, key in list(pairs)[: len(MODALITY_IDS.get(modality, ()))]:
        yield data / PurePosixPath(image).name, keys / PurePosixPath(key).name


def _kept(key_slice: int, depth: int) -> int:
    """Where the key slice, or the last one before it, lies among the slices that are kept."""
    # Where it lies beyond the scan, the reference takes any slice, and another each time.
    return ((min(key_slice, depth - 1) + 1) * min(depth, MAX_SLICES) - 1) // depth
