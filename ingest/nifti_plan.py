"""The plan of NIfTI files named one by one or lying in a folder: images with the masks beside them.

Files are told apart by their names: words are what `_`, `-`, `.` and blanks separate. A name with
"mask", "label", "seg", "roi", "gtv" or "node" is a mask, of lymph nodes if it says so; it goes with
the image in its folder whose other words are the same (CT_mask with CT_image), or with every image
if it has no other word. The words MR, T1, T2, FLAIR and PET, PT, SUV say the modality, unless CT is
another word; else it is CT. PET is taken to be in SUV.

The patient is named as the file, or as its folder where the file's words are only of that kind
(STS_002/CT_image.nii.gz is of STS_002); the study is named as the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tumorbase.ingest.item import Item, Plan, Rejected

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_MASK_WORDS = frozenset({"mask", "label", "labels", "seg", "segmentation", "roi", "gtv"})
_NODE_WORDS = frozenset({"node", "nodes", "lymph"})
_IMAGE_WORDS = frozenset({"image", "img", "volume", "vol", "scan"})
_MODALITY_WORDS = {
    "MR": frozenset({"mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "dwi"}),
    "CT": frozenset({"ct"}),
    "PT": frozenset({"pet", "pt", "suv"}),
}
_GENERIC = _IMAGE_WORDS.union(*_MODALITY_WORDS.values())


@dataclass(frozen=True)
class _Named:
    """A NIfTI file and the words of its name, lower case."""

    path: Path
    words: frozenset[str]

    @property
    def is_mask(self) -> bool:
        return bool(self.words & (_MASK_WORDS | _NODE_WORDS))

    @property
    def region(self) -> str:
        return "node" if self.words & _NODE_WORDS else "primary"

    @property
    def modality(self) -> str:
        said = (kind for kind, words in _MODALITY_WORDS.items() if self.words & words)
        return next(said, "CT")

    @property
    def own_words(self) -> frozenset[str]:
        """What is left of the name without the words for image and mask."""
        return self.words - _MASK_WORDS - _NODE_WORDS - _IMAGE_WORDS


def plan_nifti(paths: Sequence[Path]) -> Plan:
    """One item "ct_nifti" for each image, with its masks; the module says how files are paired.

    A folder stands for all NIfTI files below it. Of a file, the masks beside it are found too.
    """
    items: dict[str, Item] = {}
    rejected = []
    asked = [_named(path) for path in _files(paths)]
    masks_in = {folder: _masks_in(folder) for folder in {image.path.parent for image in asked}}
    used: set[Path] = set()
    for image in asked:
        if image.is_mask:
            continue
        masks, crowded = _masks_of(image, masks_in[image.path.parent])
        used.update(mask.path for mask in masks)
        item = _item(image, masks)
        if crowded:
            names = ", ".join(sorted(mask.path.name for mask in crowded))
            rejected.append(Rejected(str(image.path), f"several masks of one region: {names}"))
        elif item.key in items:
            reason = f"same patient and study as {items[item.key].path}: rename one of them"
            rejected.append(Rejected(str(image.path), reason))
        else:
            items[item.key] = item
    rejected += [
        Rejected(str(mask.path), "a mask without its image beside it")
        for mask in asked
        if mask.is_mask and mask.path not in used
    ]
    return Plan(tuple(items.values()), tuple(rejected))


def _files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [file for file in below if file.name.lower().endswith(NIFTI_SUFFIXES)]
    return list(dict.fromkeys(files))


def _named(path: Path) -> _Named:
    words = re.split(r"[_\-. ]+", _stem(path).lower())
    return _Named(path, frozenset(words))


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _masks_in(folder: Path) -> list[_Named]:
    files = _files(sorted(path for path in folder.iterdir() if path.is_file()))
    return [named for named in map(_named, files) if named.is_mask]


def _masks_of(image: _Named, beside: Sequence[_Named]) -> tuple[list[_Named], list[_Named]]:
    """The image's masks, of each region the closest named, and those that tie."""
    masks = [mask for mask in beside if mask.own_words in (image.own_words, frozenset())]
    chosen: list[_Named] = []
    crowded: list[_Named] = []
    for region in ("primary", "node"):
        of_region = [mask for mask in masks if mask.region == region]
        closest = max((len(mask.own_words) for mask in of_region), default=0)
        best = [mask for mask in of_region if len(mask.own_words) == closest]
        chosen += best[:1]
        crowded += best if len(best) > 1 else []
    return chosen, crowded


def _item(image: _Named, masks: Sequence[_Named]) -> Item:
    stem = _stem(image.path)
    patient_id = image.path.resolve().parent.name if image.words <= _GENERIC else stem
    paths = (image.path, *(mask.path for mask in masks))
    return Item(
        kind="ct_nifti",
        key=f"series:{patient_id}/{stem}",
        path=str(image.path),
        files=tuple(map(str, paths)),
        patient_id=patient_id,
        details={
            "study_id": stem,
            "masks": {mask.region: str(mask.path) for mask in masks},
            "modality": image.modality,
        },
    )
