"""Phantom lesions: where they lie, how they look, and what becomes of them over the studies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tumorbase.server.demo.phantom_anatomy import (
    GRID_SPACING_MM,
    ORGANS,
    Anatomy,
    grid_origin_mm,
)
from tumorbase.server.demo.phantom_truth import PatientTruth

_GAP_MM = 14.0  # between the surfaces of lesions, at their largest: over two voxels on any axis
_SMALLEST_RADIUS_MM = 3.5  # below it a lesion has vanished
_LARGEST_RADIUS_MM = 26.0


@dataclass(frozen=True)
class Look:
    """How a lesion's inside and outline look; the same in all studies."""

    hu: float
    texture_hu: float
    necrosis: float  # fall of HU from surface to centre, in HU
    irregularity: float  # relative amplitude of the outline's waves


@dataclass(frozen=True, eq=False)
class Lobe:
    """A star-shaped part of a lesion, usually all of it.

    `centre_mm` is (x, y, z) in the patient's anatomy, LPS; `radius_mm` the mean radius in the first
    study; `stretch` the relative semi-axes; `course` the radius relative to it in each study, 0
    where the lobe is not there; `waves` (5, 3) wave vectors of outline and texture.
    """

    organ: str
    region: str
    centre_mm: np.ndarray
    radius_mm: float
    stretch: np.ndarray
    waves: np.ndarray
    look: Look
    course: tuple[float, ...]

    @property
    def largest_radius_mm(self) -> float:
        """Bound of the distance from the centre to the surface over all studies."""
        bulge = float(self.stretch.max()) * (1 + self.look.irregularity)
        return self.radius_mm * max(self.course) * bulge


@dataclass
class _Plan:
    """What grows while a patient's lesions are placed."""

    rng: np.random.Generator
    patient: PatientTruth
    anatomy: Anatomy
    lobes: list[Lobe] = field(default_factory=list)


def plan_lesions(
    rng: np.random.Generator, patient: PatientTruth, anatomy: Anatomy, special: str
) -> list[Lobe]:
    """A primary, metastases and nodes of one patient; `special` adds a "split" or a "merge".

    The higher the risk the faster they grow, the more uneven their inside and outline, and the more
    of them appear; at low risk they shrink and some vanish.
    """
    plan = _Plan(rng, patient, anatomy)
    sides = ("right", "left") if patient.side < 0 else ("left", "right")
    home = {"lung": f"lung_{sides[0]}", "liver": "liver", "kidney": f"kidney_{sides[0]}"}
    away = {
        "lung": (f"lung_{sides[1]}", "liver"),
        "liver": ("liver", "lung_right"),
        "kidney": ("lung_left", "lung_right"),
    }
    if special == "split":
        _add_pair(plan, away[patient.subtype][0], _split_course(len(patient.study_days)), 0.72)
    if special == "merge":
        _add_pair(plan, away[patient.subtype][0], _merge_course(len(patient.study_days)), 1.55)
    _add(plan, home[patient.subtype], rng.uniform(12, 17), _course(plan))
    for number in range(2 + (patient.risk > 0)):
        _add(plan, away[patient.subtype][number % 2], rng.uniform(6.5, 11), _course(plan))
    if patient.risk < -0.4:
        _add(plan, away[patient.subtype][0], rng.uniform(5.5, 7), _vanishing(plan))
    if patient.risk > 0.4:
        _add(plan, away[patient.subtype][1], rng.uniform(7, 9), _appearing(plan))
    if patient.risk > -0.8:
        _add(plan, "mediastinum", rng.uniform(9, 12), _course(plan))
    return plan.lobes


def _growth(plan: _Plan) -> float:
    """Factor of the radius from one study to the next; 1.35 at risk +2, 0.74 at risk -2."""
    return float(np.exp(0.15 * plan.patient.risk + plan.rng.normal(0, 0.04)))


def _course(plan: _Plan) -> tuple[float, ...]:
    growth = _growth(plan)
    return tuple(growth**index for index in range(len(plan.patient.study_days)))


def _vanishing(plan: _Plan) -> tuple[float, ...]:
    return (*_course(plan)[:-1], 0.0)


def _appearing(plan: _Plan) -> tuple[float, ...]:
    return (0.0, *_course(plan)[:-1])


def _split_course(studies: int) -> tuple[float, ...]:
    return tuple(np.linspace(1.0, 0.5, studies))


def _merge_course(studies: int) -> tuple[float, ...]:
    return tuple(np.linspace(1.0, 1.75, studies))


def _add(plan: _Plan, organ: str, radius_mm: float, course: tuple[float, ...]) -> None:
    """Place one lesion in `organ`, clear of the others in all studies; left out where none fits."""
    course = tuple(
        min(factor, _LARGEST_RADIUS_MM / radius_mm)
        if factor * radius_mm > _SMALLEST_RADIUS_MM
        else 0.0
        for factor in course
    )
    is_node = organ == "mediastinum"
    lobe = Lobe(
        organ=organ,
        region="node" if is_node else "primary",
        centre_mm=np.zeros(3),
        radius_mm=radius_mm,
        stretch=plan.rng.uniform(0.85, 1.2, size=3),
        waves=plan.rng.normal(0, 1, size=(5, 3)),
        look=_look(plan, organ),
        course=course,
    )
    centre = _find_place(plan, lobe)
    if centre is not None:
        plan.lobes.append(replace(lobe, centre_mm=centre))


def _add_pair(plan: _Plan, organ: str, course: tuple[float, ...], distance: float) -> None:
    """Two round lobes along x, their centres `distance` times the sum of their radii apart."""
    radius_mm = 11.5
    offset = np.array([distance * radius_mm, 0.0, 0.0])
    look = replace(_look(plan, organ), irregularity=0.04)
    waves = plan.rng.normal(0, 1, size=(5, 3))
    lobe = Lobe(organ, "primary", np.zeros(3), radius_mm, np.ones(3), waves, look, course)
    # One place that holds both: a lobe as large as the two together.
    whole = replace(lobe, radius_mm=radius_mm + float(offset[0]) * 0.7)
    centre = _find_place(plan, whole)
    if centre is None:
        raise ValueError(f"no room for two lesions in {organ}")
    plan.lobes += [replace(lobe, centre_mm=centre + sign * offset) for sign in (-1, 1)]


def _look(plan: _Plan, organ: str) -> Look:
    """HU by subtype and organ, unevenness by risk."""
    risk, draw = plan.patient.risk, plan.rng.normal
    hu = {"lung": 42.0, "liver": 150.0, "kidney": 88.0}[plan.patient.subtype]
    if organ == "liver" and plan.patient.subtype != "liver":
        hu = 52.0  # metastases are darker than the liver, hepatocellular carcinoma brighter
    if organ == "mediastinum":
        hu = 78.0
    return Look(
        hu=hu + float(draw(0, 6)),
        texture_hu=float(np.clip(14 + 8 * risk + draw(0, 2), 3, 40)),
        necrosis=float(np.clip(18 + 22 * risk + draw(0, 6), 0, 70)),
        irregularity=float(np.clip(0.10 + 0.05 * risk + draw(0, 0.02), 0.03, 0.25)),
    )


def _find_place(plan: _Plan, lobe: Lobe, tries: int = 400) -> np.ndarray | None:
    """A centre (x, y, z) whose surroundings are all of the organ and clear of the other lobes."""
    voxels = np.argwhere(plan.anatomy.organ == ORGANS.index(lobe.organ))
    picked = voxels[plan.rng.integers(0, len(voxels), size=tries)]
    centres_zyx = picked * np.asarray(GRID_SPACING_MM) + grid_origin_mm()
    # A kidney tumour may bulge out of the kidney; the others stay inside.
    reach_mm = 6.0 if lobe.organ.startswith("kidney") else lobe.largest_radius_mm
    is_inside = _is_surrounded(plan.anatomy, picked, min(reach_mm, 22.0), lobe.organ)
    is_in_view = np.abs(centres_zyx[:, 0]) < 135 - lobe.largest_radius_mm - 12
    if lobe.organ == "mediastinum":
        is_inside &= centres_zyx[:, 0] > 0
    for other in plan.lobes:
        distance = np.linalg.norm(centres_zyx[:, ::-1] - other.centre_mm, axis=1)
        is_inside &= distance > lobe.largest_radius_mm + other.largest_radius_mm + _GAP_MM
    fits = np.flatnonzero(is_inside & is_in_view)
    return centres_zyx[fits[0], ::-1].copy() if len(fits) else None


def _is_surrounded(anatomy: Anatomy, voxels: np.ndarray, reach_mm: float, organ: str) -> np.ndarray:
    """Whether the six points `reach_mm` away along the axes are of `organ`; bool (len(voxels),)."""
    steps = np.concatenate([np.eye(3), -np.eye(3)]) * reach_mm / np.asarray(GRID_SPACING_MM)
    points = (voxels[:, None, :] + np.round(steps)[None]).astype(np.int64)  # (voxels, 6, 3)
    limit = np.asarray(anatomy.organ.shape) - 1
    z, y, x = np.moveaxis(np.clip(points, 0, limit), -1, 0)
    return np.asarray((anatomy.organ[z, y, x] == ORGANS.index(organ)).all(axis=1))
