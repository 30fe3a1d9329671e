"""The demo's page: one HTML file with everything in it, from the answers and the planted truth."""

from __future__ import annotations

import json
import platform
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from tumorbase.ingest.pipeline import IngestSummary
from tumorbase.query.answers import PatientTracks, Track
from tumorbase.query.risk_groups import RiskGroups
from tumorbase.query.survival_model import HeldOut
from tumorbase.server.demo.comparison import Comparison, compare
from tumorbase.server.demo.figures import (
    CLASS_COLOUR,
    plot_kaplan_meier,
    plot_shapes,
    plot_tracks,
)
from tumorbase.server.demo.phantom_slide import HOVERNET_TYPE
from tumorbase.server.demo.phantom_truth import Truth
from tumorbase.server.demo.pictures import CtPictures, LesionPlace, draw_nuclei, draw_overview
from tumorbase.server.demo.questions import Answers

_TEMPLATE = Path(__file__).with_name("page.html")
_FIELD_PX = (520, 360)  # of the slide, shown at twice its size
_STRIP_TRACKS = 6
_EXPORT_ROWS = 8
_SHAPES = {
    "area, µm²": ("area", 2),
    "major axis, µm": ("axis_major_length", 1),
    "eccentricity": ("eccentricity", 0),
    "solidity": ("solidity", 0),
}


@dataclass(frozen=True, eq=False)
class Demo:
    """All that the page is made of."""

    cohort: Path
    truth: Truth
    ingested: IngestSummary
    answers: Answers
    groups: RiskGroups
    held_out: HeldOut
    step_seconds: dict[str, float]


def render_page(demo: Demo) -> str:
    """The page as HTML text; it needs no network and no script."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    answers = demo.answers
    pictures = CtPictures()
    rows = {row["lesion_id"]: row for row in _lesion_rows(answers.lesions)}
    case = next(t for t in answers.tracks if t.patient_id == answers.patient_id)
    comparison: Comparison = compare(demo.truth, answers)
    return environment.get_template(_TEMPLATE.name).render(
        demo=demo,
        answers=answers,
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        case=case,
        query=_card(demo, pictures, rows[answers.query_lesion]),
        hits=[
            _card(demo, pictures, rows[hit.id]) | {"distance": hit.distance}
            for hit in answers.similar_lesions.hits
        ],
        similar_patients=_similar_patients(demo),
        strip=_strip(demo, pictures, case, rows),
        tracks_svg=Markup(plot_tracks(case)),
        survival_svg=Markup(plot_kaplan_meier(demo.groups, _at_risk(demo.held_out))),
        case_score=next(s for s in answers.scored.scores if s.patient_id == case.patient_id),
        codes=_known_codes(demo),
        export=_export(demo),
        slide=_slide(demo),
        comparison=comparison,
        total_seconds=sum(demo.step_seconds.values()),
    )


def _lesion_rows(lesions: pa.Table) -> list[dict[str, Any]]:
    named = [name for name in lesions.column_names if "." not in name]
    rows: list[dict[str, Any]] = lesions.select(named).to_pylist()
    return rows


def _place(demo: Demo, row: dict[str, Any]) -> LesionPlace:
    study = demo.cohort / "radiology" / row["patient_id"] / row["study_id"]
    return LesionPlace(study, row["region"], (row["x_mm"], row["y_mm"], row["z_mm"]))


def _card(demo: Demo, pictures: CtPictures, row: dict[str, Any]) -> dict[str, Any]:
    """A lesion with its picture and its patient's planted subtype."""
    subtype = {p.patient_id: p.subtype for p in demo.truth.patients}[row["patient_id"]]
    return row | {"picture": pictures.thumbnail(_place(demo, row)), "subtype": subtype}


def _similar_patients(demo: Demo) -> list[dict[str, Any]]:
    planted = {p.patient_id: p for p in demo.truth.patients}
    return [
        {
            "patient_id": hit.patient_id,
            "distance": hit.distance,
            "contributions": hit.contributions,
            "subtype": planted[hit.patient_id].subtype,
        }
        for hit in demo.answers.similar_patients.hits
    ]


def _strip(
    demo: Demo, pictures: CtPictures, case: PatientTracks, rows: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The most eventful tracks of the case, each with a picture for each study that shows it."""

    def events(track: Track) -> tuple[int, float]:
        changed = sum(lesion.change != "matched" for lesion in track.lesions[1:])
        changed += bool(track.parents) + (track.status != "present")
        return changed, max(lesion.long_axis_mm for lesion in track.lesions)

    strips = []
    chosen = sorted(case.tracks, key=events, reverse=True)[:_STRIP_TRACKS]
    for track in sorted(chosen, key=lambda t: t.track_id):
        by_study = {lesion.study_id: lesion for lesion in track.lesions}
        cells = []
        for entry in case.sums:
            lesion = by_study.get(entry.study_id)
            picture = (
                pictures.thumbnail(_place(demo, rows[lesion.lesion_id]), 90.0, 180)
                if lesion
                else None
            )
            cells.append({"lesion": lesion, "picture": picture})
        name = track.track_id.rsplit("/", 1)[-1].rsplit("-", 1)[-1]
        parents = [parent.rsplit("/", 1)[-1].rsplit("-", 1)[-1] for parent in track.parents]
        strips.append({"track": track, "name": name, "parents": parents, "cells": cells})
    return strips


def _at_risk(held_out: HeldOut) -> dict[str, np.ndarray]:
    return {
        "low": held_out.time_days[~held_out.is_high_risk],
        "high": held_out.time_days[held_out.is_high_risk],
    }


def _known_codes(demo: Demo) -> frozenset[str]:
    """The codes that were planted for the case."""
    patient_id = demo.answers.patient_id
    return frozenset(
        code for p in demo.truth.patients if p.patient_id == patient_id for code in p.icd10cm
    )


def _export(demo: Demo) -> dict[str, Any]:
    """The case's lesions as they were known, and how many rows a later reader gets instead."""
    answers = demo.answers
    then = answers.lesions_as_of
    mine = then.filter(pc.equal(then["patient_id"], answers.patient_id))
    excerpt = mine.sort_by([("event_time", "descending"), ("volume_mm3", "descending")])
    outcomes = answers.patients_as_of
    known = outcomes["OS.event"] if "OS.event" in outcomes.column_names else pa.chunked_array([[]])
    return {
        "day": answers.as_of.date().isoformat(),
        "rows": _lesion_rows(excerpt.slice(0, _EXPORT_ROWS)),
        "columns": then.num_columns,
        "lesions_then": then.num_rows,
        "lesions_now": answers.lesions.num_rows,
        "patients_then": outcomes.num_rows,
        "patients_now": answers.patients.num_rows,
        "outcomes_then": len(known) - known.null_count,
        "outcomes_now": len(answers.patients) - answers.patients["OS.event"].null_count,
    }


def _slide(demo: Demo) -> dict[str, Any]:
    """A field of a slide whose nuclei have classes, and shapes compared over all such slides."""
    nuclei = _typed_nuclei(demo.answers.nuclei)
    slide_of_patient = sorted(set(nuclei["patient_id"].to_pylist()))
    patient_id = (
        demo.answers.patient_id
        if demo.answers.patient_id in slide_of_patient
        else slide_of_patient[0]
    )
    mine = nuclei.filter(pc.equal(nuclei["patient_id"], patient_id))
    centre_px = np.stack([mine["x_level0_px"].to_numpy(), mine["y_level0_px"].to_numpy()], axis=1)
    classes = np.array(mine["class"].to_pylist())
    corner = _most_mixed_field(centre_px, classes)
    outlines = _outlines(demo.cohort, patient_id)
    path = demo.cohort / "pathology" / "slides" / f"{patient_id}.tif"
    names = list(HOVERNET_TYPE)
    mpp = nuclei["mpp"].to_numpy()
    kind = np.array(nuclei["class"].to_pylist())
    shapes = {
        label: {name: (nuclei[column].to_numpy() * mpp**power)[kind == name] for name in names}
        for label, (column, power) in _SHAPES.items()
    }
    of_class = _classes_of(outlines, centre_px, classes)
    return {
        "patient_id": patient_id,
        "picture": draw_nuclei(path, corner, _FIELD_PX, outlines, of_class),
        "overview": draw_overview(path, corner, _FIELD_PX),
        "field_um": tuple(side * 0.5 for side in _FIELD_PX),
        "counts": Counter(classes.tolist()),
        "colours": CLASS_COLOUR,
        "slides": len(slide_of_patient),
        "nuclei": nuclei.num_rows,
        "shapes_svg": Markup(plot_shapes(shapes)),
        "medians": {
            label: {name: float(np.median(values)) for name, values in of_label.items()}
            for label, of_label in shapes.items()
        },
    }


def _typed_nuclei(nuclei: pa.Table) -> pa.Table:
    """The nuclei that came with a class, with the phantom's name of it in `class`."""
    typed = nuclei.filter(pc.is_valid(nuclei["type"]))
    names = {str(number): name for name, number in HOVERNET_TYPE.items()}
    classes = [names[value] for value in typed["type"].to_pylist()]
    return typed.append_column("class", pa.array(classes, pa.string()))


def _most_mixed_field(centre_px: np.ndarray, classes: np.ndarray) -> tuple[int, int]:
    """The corner of the field in which the rarest class has most nuclei, (x, y) at level 0."""
    size = np.array(_FIELD_PX)
    corners = np.stack(np.meshgrid(*(np.arange(0, 1536 - side, 60) for side in _FIELD_PX)), -1)
    corners = corners.reshape(-1, 2)
    offset = centre_px[None] - corners[:, None]  # (corners, nuclei, 2)
    inside = ((offset > 0) & (offset < size)).all(axis=-1)
    counts = np.stack([(inside & (classes == name)).sum(axis=1) for name in HOVERNET_TYPE], axis=1)
    best = corners[counts.min(axis=1).argmax()]
    return int(best[0]), int(best[1])


def _outlines(cohort: Path, patient_id: str) -> list[np.ndarray]:
    """The outlines that were ingested with the slide, each int64 (k, 2)."""
    path = cohort / "pathology" / "nuclei" / f"{patient_id}.json"
    nuclei = json.loads(path.read_text(encoding="utf-8"))["nuc"].values()
    return [np.array(nucleus["contour"]) for nucleus in nuclei]


def _classes_of(
    outlines: list[np.ndarray], centre_px: np.ndarray, classes: np.ndarray
) -> list[str]:
    """The stored class of the nucleus nearest to each outline's centre."""
    middle = np.stack([outline.mean(axis=0) for outline in outlines])
    apart = np.linalg.norm(middle[:, None] - centre_px[None], axis=-1)  # (outlines, nuclei)
    return [str(name) for name in classes[apart.argmin(axis=1)]]
