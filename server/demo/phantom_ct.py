"""Phantom CT studies: anatomy, slightly moved, with lesions painted in; their files and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import pdist

from tumorbase.server.demo.phantom_anatomy import GRID_SPACING_MM, Anatomy, grid_origin_mm
from tumorbase.server.demo.phantom_lesions import Lobe
from tumorbase.server.demo.phantom_truth import LesionTruth, PatientTruth

SHAPE = (56, 96, 128)  # (z, y, x)
_NOISE_HU = 13.0
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Grid:
    """A study's voxels in the patient, all float64 in the order (z, y, x).

    `origin_mm` is the LPS position of voxel (0, 0, 0). A point p of the study lies in the anatomy
    at `turn @ (p - shift_mm)`.
    """

    spacing_mm: np.ndarray
    origin_mm: np.ndarray
    shift_mm: np.ndarray
    turn: np.ndarray


@dataclass(frozen=True, eq=False)
class Scan:
    """One study: `image` int16 HU and `lobes` int16 (0 none, else lobe + 1), (z, y, x) LPS."""

    image: np.ndarray
    lobes: np.ndarray
    grid: Grid


def scan_patient(
    rng: np.random.Generator, anatomy: Anatomy, lobes: Sequence[Lobe], study: int
) -> Scan:
    """The patient on the table in one study: moved by up to 9 mm and turned by up to 2 degrees."""
    grid = _draw_grid(rng)
    hu = _resample(anatomy, grid)
    lobe_map = np.zeros(SHAPE, dtype=np.int16)
    for index, lobe in enumerate(lobes):
        if lobe.course[study] > 0:
            box, inside = _paint_lobe(hu, lobe, lobe.course[study], grid)
            lobe_map[box][inside] = index + 1
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), (0.3, 0.7, 0.7))
    hu += _NOISE_HU * noise / noise.std()
    return Scan(np.round(hu).astype(np.int16), lobe_map, grid)


def _draw_grid(rng: np.random.Generator) -> Grid:
    in_plane_mm = rng.choice((2.9, 3.0, 3.1))
    spacing_mm = np.array([5.0, in_plane_mm, in_plane_mm])
    return Grid(
        spacing_mm=spacing_mm,
        origin_mm=-0.5 * (np.asarray(SHAPE) - 1) * spacing_mm,
        shift_mm=rng.uniform(-9, 9, size=3),
        turn=_turn_about_z(np.deg2rad(rng.uniform(-2, 2))),
    )


def _resample(anatomy: Anatomy, grid: Grid) -> np.ndarray:
    """HU of the anatomy on the study's grid, float32 of SHAPE."""
    voxel_mm = np.asarray(GRID_SPACING_MM)
    corner_mm = grid.turn @ (grid.origin_mm - grid.shift_mm) - grid_origin_mm()
    return np.asarray(
        ndimage.affine_transform(
            anatomy.hu,
            matrix=(grid.turn * grid.spacing_mm) / voxel_mm[:, None],
            offset=corner_mm / voxel_mm,
            output_shape=SHAPE,
            order=1,
            cval=-1000.0,
        )
    )


def _turn_about_z(angle: float) -> np.ndarray:
    """Rotation of (z, y, x) columns, float64 (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0, 0], [0, c, s], [0, -s, c]])


def _paint_lobe(
    hu: np.ndarray, lobe: Lobe, growth: float, grid: Grid
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Paint `hu` in place; the box around the lobe and which of its voxels lie inside, bool."""
    centre_mm = grid.turn.T @ lobe.centre_mm[::-1] + grid.shift_mm
    reach_mm = lobe.largest_radius_mm
    low = np.floor((centre_mm - reach_mm - grid.origin_mm) / grid.spacing_mm).astype(int)
    high = np.ceil((centre_mm + reach_mm - grid.origin_mm) / grid.spacing_mm).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, SHAPE)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    at = np.indices(high - low).reshape(3, -1).T + low
    offset = (
        at * grid.spacing_mm + grid.origin_mm - centre_mm
    ) @ grid.turn.T  # (voxels, 3) in the anatomy
    distance = np.linalg.norm(offset, axis=1)
    toward = offset / np.maximum(distance, 1e-6)[:, None]
    bumps = np.cos(2.2 * toward @ lobe.waves.T).mean(axis=1)  # (voxels,) in [-1, 1]
    radius_mm = lobe.radius_mm * growth
    surface = (
        radius_mm
        * (1 + lobe.look.irregularity * bumps)
        / np.linalg.norm(toward / lobe.stretch, axis=1)
    )
    depth = 1 - distance / surface  # 1 at the centre, 0 on the surface
    # Texture is fixed to the relative position, so that it grows with the lesion.
    relative = offset / radius_mm
    texture = np.cos(3.5 * relative @ lobe.waves.T + np.arange(5)).sum(axis=1) / np.sqrt(2.5)
    inside_hu = lobe.look.hu + lobe.look.texture_hu * texture - lobe.look.necrosis * depth
    share = np.clip(0.5 + (surface - distance) / 2.5, 0, 1)  # partial volume at the surface
    shape = tuple(high - low)
    share, inside_hu = share.reshape(shape), inside_hu.reshape(shape)
    hu[box] = (1 - share) * hu[box] + share * inside_hu
    return box, (depth > 0).reshape(shape)


def write_scan(folder: Path, scan: Scan, lobes: Sequence[Lobe], axcodes: str) -> None:
    """CT_img.nii.gz, label.nii.gz and node.nii.gz, their voxel axes toward `axcodes`."""
    folder.mkdir(parents=True, exist_ok=True)
    regions = np.array(["none", *(lobe.region for lobe in lobes)])[scan.lobes]
    _write(folder / "CT_img.nii.gz", scan.image, scan, axcodes)
    for name, region in (("label", "primary"), ("node", "node")):
        mask = (regions == region).astype(np.uint8)
        if mask.any():
            _write(folder / f"{name}.nii.gz", mask, scan, axcodes)


def _write(path: Path, array: np.ndarray, scan: Scan, axcodes: str) -> None:
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's world is RAS
    affine = np.diag([*scan.grid.spacing_mm[::-1], 1.0])
    affine[:3, 3] = scan.grid.origin_mm[::-1]
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), flip @ affine)
    image.header.set_xyzt_units("mm")
    orientation = nibabel.orientations
    move = orientation.ornt_transform(
        nibabel.io_orientation(image.affine), orientation.axcodes2ornt(tuple(axcodes))
    )
    nibabel.save(image.as_reoriented(move), path)


def lesions_of(
    patient: PatientTruth, lobes: Sequence[Lobe], scans: Sequence[Scan]
) -> list[LesionTruth]:
    """Every component of every study, joined into tracks by the lobes that it is made of."""
    found: list[LesionTruth] = []
    track_of: dict[int, str] = {}  # lobe -> its track in the last study that shows it
    tracks = 0
    for study, scan in enumerate(scans):
        components = _components(lobes, scan)
        parents = [sorted({track_of[n] for n in c.lobes if n in track_of}) for c in components]
        children = [parent for of_one in parents for parent in of_one]
        for component, of_one in zip(components, parents, strict=True):
            goes_on = len(of_one) == 1 and children.count(of_one[0]) == 1
            if not goes_on:
                tracks += 1
            track_id = of_one[0] if goes_on else f"{patient.patient_id}-T{tracks}"
            track_of.update(dict.fromkeys(component.lobes, track_id))
            lobe = lobes[component.lobes[0]]
            x_mm, y_mm, z_mm = component.centroid_mm
            found.append(
                LesionTruth(
                    patient_id=patient.patient_id,
                    study_id=patient.study_id(study),
                    track_id=track_id,
                    parents=() if goes_on else tuple(of_one),
                    organ=lobe.organ,
                    region=lobe.region,
                    x_mm=x_mm,
                    y_mm=y_mm,
                    z_mm=z_mm,
                    diameter_mm=component.diameter_mm,
                    volume_mm3=component.volume_mm3,
                )
            )
    return found


@dataclass(frozen=True)
class _Component:
    lobes: tuple[int, ...]
    centroid_mm: tuple[float, float, float]
    diameter_mm: float
    volume_mm3: float


def _components(lobes: Sequence[Lobe], scan: Scan) -> list[_Component]:
    regions = np.array(["none", *(lobe.region for lobe in lobes)])[scan.lobes]
    found = []
    for region in ("primary", "node"):
        labels, count = ndimage.label(regions == region, structure=_TOUCHING)
        found += [_measure(np.argwhere(labels == n), scan) for n in range(1, count + 1)]
    return found


def _measure(voxels: np.ndarray, scan: Scan) -> _Component:
    """`voxels` are the component's (z, y, x) indices, int64 (n, 3)."""
    members = np.unique(scan.lobes[tuple(voxels.T)]) - 1
    z_mm, y_mm, x_mm = voxels.mean(axis=0) * scan.grid.spacing_mm + scan.grid.origin_mm
    in_plane_mm = voxels[:, 1:] * scan.grid.spacing_mm[1:]
    widths = [
        float(pdist(in_plane_mm[voxels[:, 0] == z]).max(initial=0.0))
        for z in np.unique(voxels[:, 0])
    ]
    return _Component(
        lobes=tuple(int(n) for n in members),
        centroid_mm=(float(x_mm), float(y_mm), float(z_mm)),
        diameter_mm=max(widths) + float(scan.grid.spacing_mm[2]),
        volume_mm3=float(len(voxels) * np.prod(scan.grid.spacing_mm)),
    )
