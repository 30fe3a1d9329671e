"""What the system found, held against what was planted in the phantom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow.compute as pc
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from tumorbase.models.concordance import concordance_index
from tumorbase.server.demo.phantom_truth import LesionTruth, Truth
from tumorbase.server.demo.questions import Answers

_NEAR_MM = 5.0
_NEAR_UM = 3.0

_Link = tuple[int, int]  # a planted lesion and the one that it is in the next study


@dataclass(frozen=True)
class Comparison:
    """Counts and agreements; `links` are pairs of one lesion in consecutive studies."""

    lesions_planted: int
    lesions_found: int
    centroid_error_mm: float  # median distance of found from planted
    volume_error: float  # median relative
    links_planted: int
    links_found: int
    links_right: int
    nuclei_planted: int  # on slides that came without their nuclei
    nuclei_found: int  # by segmentation, that is, without a class
    nuclei_right: int
    risk_correlation: float  # Spearman, of the model's risk with the planted one
    planted_c_index: float
    subtype_hits: int  # of the neighbours of the query lesion
    neighbours: int


def compare(truth: Truth, answers: Answers) -> Comparison:
    """Hold the answers against the truth; a lesion is found within 5 mm of its planted centroid."""
    planted_of, apart_mm, volume_error = _match_lesions(truth, answers)
    nuclei_planted, nuclei_found, nuclei_right = _match_nuclei(truth, answers)
    planted, found = _planted_links(truth.lesions), _found_links(answers, planted_of)
    patients = {p.patient_id: p for p in truth.patients}
    scores = answers.scored.scores
    subtype = patients[answers.patient_id].subtype
    hits = answers.similar_lesions.hits
    return Comparison(
        lesions_planted=len(truth.lesions),
        lesions_found=len(planted_of),
        centroid_error_mm=float(np.median(apart_mm)),
        volume_error=float(np.median(volume_error)),
        links_planted=len(planted),
        links_found=len(found),
        links_right=len(planted & found),
        nuclei_planted=nuclei_planted,
        nuclei_found=nuclei_found,
        nuclei_right=nuclei_right,
        risk_correlation=float(
            spearmanr([s.risk for s in scores], [patients[s.patient_id].risk for s in scores])[0]
        ),
        planted_c_index=concordance_index(
            np.array([p.time_days for p in truth.patients], dtype=float),
            np.array([p.is_event for p in truth.patients]),
            np.array([p.risk for p in truth.patients]),
        ),
        subtype_hits=sum(patients[hit.patient_id].subtype == subtype for hit in hits),
        neighbours=len(hits),
    )


def _match_lesions(
    truth: Truth, answers: Answers
) -> tuple[dict[str, int], list[float], list[float]]:
    """Found lesion id to planted index, with the distance and the relative error of the volume."""
    names = ["lesion_id", "study_id", "region", "x_mm", "y_mm", "z_mm", "volume_mm3"]
    rows = answers.lesions.select(names).to_pylist()
    planted_of: dict[str, int] = {}
    apart_mm, volume_error = [], []
    for study_id in {lesion.study_id for lesion in truth.lesions}:
        planted = [i for i, lesion in enumerate(truth.lesions) if lesion.study_id == study_id]
        mine = [row for row in rows if row["study_id"] == study_id]
        tree = cKDTree([_centre(truth.lesions[i]) for i in planted])
        for row in mine:
            distance, nearest = tree.query([row["x_mm"], row["y_mm"], row["z_mm"]])
            index = planted[int(nearest)]
            if distance <= _NEAR_MM and truth.lesions[index].region == row["region"]:
                planted_of[row["lesion_id"]] = index
                apart_mm.append(float(distance))
                volume = truth.lesions[index].volume_mm3
                volume_error.append(abs(row["volume_mm3"] - volume) / volume)
    return planted_of, apart_mm, volume_error


def _match_nuclei(truth: Truth, answers: Answers) -> tuple[int, int, int]:
    """Planted and segmented nuclei, and how many are each other's nearest.

    Slides that came with their nuclei, which then have a class, are not segmented and not counted.
    """
    is_segmented = pc.is_null(answers.nuclei["type"])
    segmented = answers.nuclei.filter(is_segmented)
    imported = set(answers.nuclei.filter(pc.invert(is_segmented))["patient_id"].to_pylist())
    planted = found = right = 0
    for slide in truth.slides:
        if slide.patient_id in imported:
            continue
        planted += len(slide.type_index)
        mine = segmented.filter(pc.equal(segmented["patient_id"], slide.patient_id))
        centre_px = np.column_stack([mine["x_level0_px"], mine["y_level0_px"]])
        found += len(centre_px)
        apart_px, nearest = cKDTree(slide.centroid_px).query(centre_px)
        _, back = cKDTree(centre_px).query(slide.centroid_px)
        is_mutual = back[nearest] == np.arange(len(centre_px))
        right += int((is_mutual & (apart_px * slide.mpp <= _NEAR_UM)).sum())
    return planted, found, right


def _centre(lesion: LesionTruth) -> tuple[float, float, float]:
    return lesion.x_mm, lesion.y_mm, lesion.z_mm


def _planted_links(lesions: Iterable[LesionTruth]) -> set[_Link]:
    """Each lesion with what it is, or becomes a part of, when next seen."""
    links: set[_Link] = set()
    last_of_track: dict[str, int] = {}
    for index, lesion in enumerate(lesions):  # in the order of studies within a patient
        for track_id in (lesion.track_id, *lesion.parents):
            if track_id in last_of_track:
                links.add((last_of_track[track_id], index))
        last_of_track[lesion.track_id] = index
    return links


def _found_links(answers: Answers, planted_of: dict[str, int]) -> set[_Link]:
    """The tracker's links in terms of planted lesions."""
    links: set[_Link] = set()
    for patient in answers.tracks:
        tracks = {track.track_id: track for track in patient.tracks}
        for track in patient.tracks:
            ids = [lesion.lesion_id for lesion in track.lesions]
            links |= {(planted_of[a], planted_of[b]) for a, b in pairwise(ids)}
            for parent in track.parents:
                last = tracks[parent].lesions[-1].lesion_id
                links.add((planted_of[last], planted_of[ids[0]]))
    return links
