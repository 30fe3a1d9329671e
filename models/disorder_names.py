"""What the classes of a diagnostic network are called, by the file that is published beside it."""

from __future__ import annotations

import json
from pathlib import Path

from tumorbase.models.weights import UnusableWeights, weights_folders

FILE = "disorder_label_dict.json"
SOURCE = "qiaoyu-zheng/RP3D-Diag, RP3D_Demo/DataPath"


def read_disorder_names(folder: Path | None, classes: int) -> tuple[str, ...]:
    """Names of the classes in the order of the network's outputs.

    Args:
        folder: of the weights; else $TUMORBASE_WEIGHTS. The file there is JSON, name to output.
        classes: how many outputs there are.

    Raises:
        UnusableWeights: the file is not found, or does not name each output once.
    """
    folders = weights_folders(folder)
    path = next((place / FILE for place in folders if (place / FILE).is_file()), None)
    if path is None:
        places = " or ".join(map(str, folders)) or "the folder of the weights"
        raise UnusableWeights(
            f"names of disorders not found: put {FILE} into {places}; published: {SOURCE}",
            is_missing=True,
        )
    try:
        output_of = json.loads(path.read_text(encoding="utf-8"))
        names = sorted(output_of, key=output_of.__getitem__)
        outputs = sorted(output_of.values())
    except (ValueError, AttributeError, TypeError) as error:
        raise UnusableWeights(f"{path}: expected JSON, name to output: {error}") from error
    if outputs != list(range(classes)):
        raise UnusableWeights(
            f"{path}: expected a name for each output from 0 to {classes - 1}, got {len(names)} "
            "names"
        )
    return tuple(names)
