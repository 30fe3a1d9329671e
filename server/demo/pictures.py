"""Pictures of the demo page: CT slices with lesions, and slides with nuclei, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openslide
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.measure import find_contours

from tumorbase.ingest.nifti import read_labels, read_volume
from tumorbase.ingest.volume import Volume
from tumorbase.server.demo.figures import CLASS_COLOUR

_SOFT_TISSUE_HU = (-140.0, 240.0)
_LUNG_HU = (-1250.0, 250.0)
_MASK_OF_REGION = {"primary": "label.nii.gz", "node": "node.nii.gz"}
_OUTLINE = (255, 179, 0)


@dataclass(frozen=True)
class LesionPlace:
    """Where a lesion is to be seen: its study's folder, its region and its centroid in LPS mm."""

    study_folder: Path
    region: str
    centre_mm: tuple[float, float, float]


@dataclass
class CtPictures:
    """Draws lesions; keeps the volumes that it has read."""

    _volumes: dict[Path, tuple[Volume, dict[str, np.ndarray]]] = field(default_factory=dict)

    def thumbnail(self, place: LesionPlace, side_mm: float = 110.0, side_px: int = 240) -> str:
        """The axial slice through the centroid around the lesion, outlined, as a PNG data URI."""
        volume, masks = self._read(place.study_folder)
        centre = volume.grid.to_index(np.array([place.centre_mm]))[0]
        mask = _component(masks[place.region], centre)
        z = int(np.round(centre[0]))
        scale = side_px / side_mm * np.array(volume.grid.spacing_mm[1:])  # pixels a voxel
        corner = centre[1:] - 0.5 * side_px / scale
        hu = _crop(volume.voxels[z], corner, scale, side_px)
        around = volume.voxels[z][ndimage.binary_dilation(mask[z], iterations=3) & ~mask[z]]
        low, high = _LUNG_HU if np.median(around) < -400 else _SOFT_TISSUE_HU
        grey = np.clip((hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        picture = Image.fromarray(grey).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for contour in find_contours(np.pad(mask[z], 1).astype(float), 0.5):
            points = (contour - 1 - corner) * scale - 0.5  # the padding shifts by one voxel
            draw.line([(x, y) for y, x in points.tolist()], fill=_OUTLINE, width=2, joint="curve")
        return png_uri(picture)

    def _read(self, folder: Path) -> tuple[Volume, dict[str, np.ndarray]]:
        if folder not in self._volumes:
            masks = {
                region: read_labels(folder / name)[0]
                for region, name in _MASK_OF_REGION.items()
                if (folder / name).exists()
            }
            self._volumes[folder] = (read_volume(folder / "CT_img.nii.gz"), masks)
        return self._volumes[folder]


def _component(mask: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The component of the mask whose voxels come nearest to `centre` (z, y, x), bool."""
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    voxels = np.argwhere(labels)
    nearest = voxels[np.linalg.norm(voxels - centre, axis=1).argmin()]
    return np.asarray(labels == labels[tuple(nearest)])


def _crop(plane: np.ndarray, corner: np.ndarray, scale: np.ndarray, side_px: int) -> np.ndarray:
    """A square of the plane, linearly interpolated, float32 (side_px, side_px); outside is air."""
    rows, columns = (corner[axis] + (np.arange(side_px) + 0.5) / scale[axis] for axis in (0, 1))
    at = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(plane, at, order=1, cval=-1000.0))


def draw_nuclei(
    slide: Path, corner_px: tuple[int, int], size_px: tuple[int, int],
    outlines: Sequence[np.ndarray], classes: Sequence[str], zoom: int = 2,
) -> str:  # fmt: skip
    """A field of a slide with each nucleus outlined in the colour of its class, JPEG data URI.

    `corner_px` and `size_px` are (x, y) at level 0; `outlines` are int64 (k, 2), (x, y) at level 0.
    """
    with openslide.OpenSlide(slide) as opened:
        picture = opened.read_region(corner_px, 0, size_px).convert("RGB")
    picture = picture.resize((size_px[0] * zoom, size_px[1] * zoom), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for outline, name in zip(outlines, classes, strict=True):
        points = (outline - np.array(corner_px) + 0.5) * zoom
        if (points > 0).all(axis=1).any() and (points < np.array(picture.size)).all(axis=1).any():
            closed = [tuple(point) for point in [*points.tolist(), points[0].tolist()]]
            draw.line(closed, fill=CLASS_COLOUR[name], width=3, joint="curve")
    return jpeg_uri(picture)


def draw_overview(slide: Path, corner_px: tuple[int, int], size_px: tuple[int, int]) -> str:
    """The whole slide, small, with a frame around the field that is shown, JPEG data URI."""
    with openslide.OpenSlide(slide) as opened:
        picture = opened.get_thumbnail((420, 420)).convert("RGB")
        scale = picture.size[0] / opened.dimensions[0]
    (x, y), (width, height) = np.array(corner_px) * scale, np.array(size_px) * scale
    ImageDraw.Draw(picture).rectangle((x, y, x + width, y + height), outline=(20, 20, 20), width=2)
    return jpeg_uri(picture)


def png_uri(picture: Image.Image) -> str:
    """The picture as a PNG in a data URI."""
    return _uri(picture, "PNG", optimize=True)


def jpeg_uri(picture: Image.Image) -> str:
    """The picture as a JPEG in a data URI."""
    return _uri(picture, "JPEG", quality=84)


def _uri(picture: Image.Image, kind: str, **options: object) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
