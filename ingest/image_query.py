"""An image as a question: read and encoded exactly as ingest would, and not stored."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.ingest.chosen_encoders import encoder_ids
from tumorbase.ingest.item import Context, Item, ItemRows, VectorRows
from tumorbase.ingest.readers import reader_of
from tumorbase.models.encoders import (
    POOLED_SUFFIX,
    Runtime,
    default_encoder_names,
    encoder_level,
)
from tumorbase.models.patch_geometry import PatchGeometry
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.errors import BadInput, InvalidRequest, MissingWeights

_LEVELS = ("lesion", "patch", "nucleus", "slide")
_PARTS = ("patch", "region")  # of which a slide's vector is pooled
# Ingest encodes a lesion both by its pixels and by its measurements; a picture asks by its pixels.
_LAST_CHOICE = "measurement"


@dataclass(frozen=True)
class ImageQuestion:
    """What a file shows at a level.

    A lesion is the largest one of `mask` in the NIfTI volume `image`; a patch or nucleus is the one
    nearest to the centre of the slide or tile `image`; a slide is all of it. Without `encoder`, a
    name, the built-in one of the level answers; `patches` are what one of patches is given. `mpp`
    is of slides and tiles that state none.

    Raises:
        InvalidRequest: an image cannot ask at this level, a lesion comes without its mask, or `mpp`
            is not in (0, 1000).
    """

    image: Path
    level: str
    encoder: str = ""
    mask: Path | None = None
    mpp: float | None = None
    patches: PatchGeometry = field(default_factory=PatchGeometry)

    def __post_init__(self) -> None:
        if self.level not in _LEVELS:
            raise InvalidRequest(
                f"an image can ask for a lesion, patch, nucleus or slide, got {self.level!r}"
            )
        if self.level == "lesion" and self.mask is None:
            raise InvalidRequest("a lesion is asked for by an image and its mask, got no mask")
        if self.mpp is not None and not 0 < self.mpp < 1000:
            raise InvalidRequest(f"mpp must be in (0, 1000) micrometres per pixel, got {self.mpp}")

    def as_stored(self, encoder: str, preprocessing: str) -> ImageQuestion:
        """The question to vectors of this encoder with this preprocessing, as a store has them."""
        if encoder_level(encoder.removesuffix(POOLED_SUFFIX)) != "patch":
            return replace(self, encoder=encoder)
        return replace(self, encoder=encoder, patches=PatchGeometry.of(preprocessing))


@dataclass(frozen=True)
class EncodedImage:
    """The vector of an image, float32 (dim,), in the encoder's own units, and the encoder's id."""

    encoder_id: str
    vector: np.ndarray


def encode_image(asked: ImageQuestion, runtime: Runtime | None = None) -> EncodedImage:
    """The vector of what a file shows; `runtime` is of an encoder that is a network.

    Raises:
        BadInput: the file cannot be read, or shows nothing of the level.
        InvalidRequest: the encoder is of another level.
        MissingWeights: the encoder is a network, and its weights are not found.
    """
    image, level = asked.image, asked.level
    item = _item(asked)
    with tempfile.TemporaryDirectory() as staging:
        context = Context(
            Path(staging),
            _asked(level, asked.encoder),
            runtime or Runtime(),
            asked.mpp,
            asked.patches,
        )
        ids = encoder_ids(context.encoders, context.runtime, context.patches)
        context = replace(context, encoder_ids=tuple(ids.values()))
        try:
            rows = reader_of(item.kind)(item, context)
        except UnusableWeights as error:
            raise MissingWeights(str(error)) from error
        vectors = _of_level(rows, level, image)
        with pa.ipc.open_stream(vectors.path) as reader:
            table = reader.read_all()
    if table.num_rows == 0:
        raise BadInput(str(image), f"shows no {level} to ask about")
    row = table.slice(_place(table, rows, level), 1)
    vector = row["vector"].combine_chunks().flatten().to_numpy().astype(np.float32)
    return EncodedImage(vectors.spec.encoder_id, vector)


def _asked(level: str, encoder: str) -> tuple[str, ...]:
    """The encoder named, else the built-in ones of the level; a slide's vector is of its parts."""
    wanted = _PARTS if level == "slide" else (level,)
    if not encoder:
        return tuple(name for name in default_encoder_names() if encoder_level(name) in wanted)
    name = encoder.removesuffix(POOLED_SUFFIX)
    if encoder_level(name) not in wanted:
        raise InvalidRequest(f"encoder {encoder!r} does not encode a {level}")
    return (name,)


def _item(asked: ImageQuestion) -> Item:
    path = str(asked.image)
    if asked.level == "lesion":
        details = {"study_id": "query", "masks": {"primary": str(asked.mask)}, "modality": "CT"}
        return Item("ct_nifti", "series:query", path, (path,), "query", details)
    return Item("slide", "slide:query", path, (path,), "query", {"slide_id": "query"})


def _of_level(rows: ItemRows, level: str, image: Path) -> VectorRows:
    staged = [vectors for vectors in rows.vectors if vectors.spec.level == level]
    if not staged:
        raise BadInput(str(image), f"shows no {level} to ask about")
    return min(staged, key=lambda vectors: vectors.spec.name == _LAST_CHOICE)


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
