"""Phantom patients: subtype, latent risk, and the outcome and diagnoses that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from scipy.stats import norm

from tumorbase.server.demo.phantom_truth import LesionTruth, PatientTruth

SUBTYPES = ("lung", "liver", "kidney")
STAGES = ("I", "II", "III", "IV")

# Weibull survival after the last study: shape, scale in days, and log-hazard per unit of risk over
# the shape. Chosen so that about a third is censored and risk ranks events with C near 0.85.
_SHAPE = 2.5
_SCALE_DAYS = 520.0
_LOG_TIME_PER_RISK = 0.75
_FOLLOW_UP_DAYS = (500, 1400)

# Upper lobe, right or left; liver cell carcinoma; kidney except renal pelvis, right or left.
_PRIMARY_CODE = {
    ("lung", -1): "C34.11",
    ("lung", 1): "C34.12",
    ("liver", -1): "C22.0",
    ("liver", 1): "C22.0",
    ("kidney", -1): "C64.1",
    ("kidney", 1): "C64.2",
}


def draw_patients(rng: np.random.Generator, count: int) -> list[PatientTruth]:
    """`count` patients whose risks are the normal quantiles, shuffled: every cohort spans them all.

    Their diagnoses are added by `with_diagnoses`, once their lesions are known.
    """
    risks = rng.permutation(norm.ppf((np.arange(count) + 0.5) / count))
    return [_draw_patient(rng, index, float(risk)) for index, risk in enumerate(risks)]


def _draw_patient(rng: np.random.Generator, index: int, risk: float) -> PatientTruth:
    subtype = SUBTYPES[index % len(SUBTYPES)]
    side = int(rng.choice((-1, 1)))
    # The cohort's extremes are seen three times: there lesions split, merge, appear and vanish.
    studies = 3 if abs(risk) > 0.8 else int(rng.integers(2, 4))
    gaps_days = rng.integers(55, 100, size=studies - 1)
    study_days = (0, *np.cumsum(gaps_days).tolist())
    time_days, is_event = _draw_outcome(rng, risk, study_days[-1])
    return PatientTruth(
        patient_id=f"PHANTOM-{index + 1:03d}",
        subtype=subtype,
        side=side,
        risk=risk,
        sex=str(rng.choice(("F", "M"))),
        age=int(np.clip(rng.normal(64 + 3 * risk, 8), 35, 88)),
        stage=STAGES[int(np.clip(np.round(1.7 + 0.8 * risk + rng.normal(0, 0.5)), 0, 3))],
        baseline=date(2021, 1, 4) + timedelta(days=int(rng.integers(0, 500))),
        study_days=study_days,
        time_days=time_days,
        is_event=is_event,
        icd10cm=(),
    )


def _draw_outcome(rng: np.random.Generator, risk: float, last_study_day: int) -> tuple[int, bool]:
    """Days to death or to the end of follow-up, after the last study, and whether it was death."""
    weibull = float(rng.weibull(_SHAPE))
    death = last_study_day + 30 + _SCALE_DAYS * weibull * np.exp(-_LOG_TIME_PER_RISK * risk)
    follow_up = last_study_day + rng.integers(*_FOLLOW_UP_DAYS)
    return int(min(death, follow_up)), bool(death <= follow_up)


def with_diagnoses(patient: PatientTruth, lesions: Sequence[LesionTruth]) -> PatientTruth:
    """The patient with the ICD-10-CM codes of the primary and of what `lesions` show beside it."""
    organs = {lesion.organ for lesion in lesions}
    codes = [_PRIMARY_CODE[patient.subtype, patient.side]]
    if patient.subtype != "lung" and organs & {"lung_right", "lung_left"}:
        codes.append("C78.00")  # secondary malignant neoplasm of lung
    if patient.subtype != "liver" and "liver" in organs:
        codes.append("C78.7")  # secondary malignant neoplasm of liver
    if "mediastinum" in organs:
        codes.append("C77.1")  # of intrathoracic lymph nodes
    return replace(patient, icd10cm=tuple(codes))
