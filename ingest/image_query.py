"""An image as a question: read and encoded exactly as ingest would, and not stored."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.chosen_encoders import encoder_ids
from tumorbase.ingest.imported_nuclei import slide_key
from tumorbase.ingest.item import Context, Item, ItemRows
from tumorbase.ingest.readers import reader_of
from tumorbase.models.encoders import POOLED_SUFFIX, Runtime, encoder_level
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.errors import BadInput, InvalidRequest, MissingWeights

_LEVELS = ("lesion", "patch", "nucleus", "slide")
_PARTS = ("patch", "region")  # of which a slide's vector is pooled


@dataclass(frozen=True)
class ImageQuestion:
    """What a file shows at a level.

    A lesion is the largest one of `mask` in the NIfTI volume `image`; a patch or nucleus is the one
    nearest to the centre of the slide or tile `image`; a slide is all of it. `mpp` is of slides and
    tiles that state none.

    Raises:
        InvalidRequest: an image cannot ask at this level, a lesion comes without its mask, or `mpp`
            is not in (0, 1000).
    """

    image: Path
    level: str
    mask: Path | None = None
    mpp: float | None = None

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise InvalidRequest(
                f"an image can ask for a lesion, patch, nucleus or slide, got {self.level!r}"
            )
        if self.level == "lesion" and self.mask is None:
            raise InvalidRequest("a lesion is asked for by an image and its mask, got no mask")
        if self.mpp is not None and not 0 < self.mpp < 1000:
            raise InvalidRequest(f"mpp must be in (0, 1000) micrometres per pixel, got {self.mpp}")


@dataclass(frozen=True)
class EncodedImage:
    """The vector of an image, float32 (dim,), in the encoder's own units, and the encoder's id."""

    encoder_id: str
    vector: np.ndarray


def encode_image(
    asked: ImageQuestion, encoder: str, preprocessing: str, runtime: Runtime
) -> EncodedImage:
    """The vector of what a file shows.

    Args:
        asked: what is shown, and of which level.
        encoder: name of the one that made the vectors to compare with.
        preprocessing: of these vectors, as a store has it; says how patches are cut.
        runtime: of an encoder that is a network.

    Raises:
        BadInput: the file cannot be read, or shows nothing of the level.
        InvalidRequest: the encoder is of another level.
        MissingWeights: the encoder is a network, and its weights are not found.
    """
    image, level = asked.image, asked.level
    item, name = _item(asked), encoder.removesuffix(POOLED_SUFFIX)
    own_level = encoder_level(name)
    if own_level not in (_PARTS if level == "slide" else (level,)):
        raise InvalidRequest(f"encoder {encoder!r} does not encode a {level}")
    patches = PatchGeometry.of(preprocessing) if own_level == "patch" else PatchGeometry()
    with tempfile.TemporaryDirectory() as staging:
        context = Context(Path(staging), (name,), runtime, asked.mpp, patches)
        ids = encoder_ids(context.encoders, context.runtime, context.patches)
        context = replace(context, encoder_ids=tuple(ids.values()))
        try:
            rows = reader_of(item.kind)(item, context)
        except UnusableWeights as error:
            raise MissingWeights(str(error)) from error
        vectors = next((staged for staged in rows.vectors if staged.spec.level == level), None)
        if vectors is None:
            raise BadInput(str(image), f"shows no {level} to ask about")
        with pa.ipc.open_stream(vectors.path) as reader:
            table = reader.read_all()
    if table.num_rows == 0:
        raise BadInput(str(image), f"shows no {level} to ask about")
    row = table.slice(_place(table, rows, level), 1)
    vector = row["vector"].combine_chunks().flatten().to_numpy().astype(np.float32)
    return EncodedImage(vectors.spec.encoder_id, vector)


def _item(asked: ImageQuestion) -> Item:
    path = str(asked.image)
    if asked.level == "lesion":
        details = {"study_id": "query", "masks": {"primary": str(asked.mask)}, "modality": "CT"}
        return Item("ct_nifti", "series:query", path, (path,), "query", details)
    return Item("slide", slide_key("query"), path, (path,), "query", {"slide_id": "query"})


def _place(table: pa.Table, rows: ItemRows, level: str) -> int:
    """Which row is meant: the first lesion, which is the largest, or what is nearest the centre."""
    if level in ("lesion", "slide"):
        return 0
    slide = rows.tables["slide"]
    half = pc.divide(table["side_level0_px"], 2) if level == "patch" else 0
    distances = [
        pc.abs(pc.subtract(pc.add(table[f"{axis}_level0_px"], half), slide[size][0].as_py() / 2))
        for axis, size in (("x", "width_px"), ("y", "height_px"))
    ]
    return int(np.argmin(np.hypot(*(d.to_numpy() for d in distances))))
