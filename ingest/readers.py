"""The readers and planners, listed once; a module is imported when its kind is first met."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from tumorbase.ingest.item import Context, Item, ItemRows

Reader = Callable[[Item, Context], ItemRows]

# Kind of an item -> its reader, "module:function".
READERS: dict[str, str] = {
    "patients_table": "tumorbase.ingest.clinical:read_patients_table",
    "outcomes_table": "tumorbase.ingest.clinical:read_outcomes_table",
    "studies_table": "tumorbase.ingest.clinical:read_studies_table",
    "diagnoses_table": "tumorbase.ingest.clinical:read_diagnoses_table",
    "lesions_table": "tumorbase.ingest.lesion_table:read_lesions_table",
    "genomics_table": "tumorbase.ingest.genomics:read_genomics_table",
    "tcga_table": "tumorbase.ingest.tcga:read_tcga_table",
    "deeplesion_table": "tumorbase.ingest.deeplesion:read_deeplesion_table",
    "key_slice": "tumorbase.ingest.key_slices:read_key_slice",
    "pyradiomics_table": "tumorbase.ingest.pyradiomics_csv:read_pyradiomics_table",
    "ct_nifti": "tumorbase.ingest.radiology:read_ct_nifti",
    "dicom_series": "tumorbase.ingest.radiology:read_dicom_series",
    "case": "tumorbase.ingest.cases:read_case",
    "slide": "tumorbase.ingest.slides:read_slide",
    "nuclei": "tumorbase.ingest.nuclei:read_nuclei",
    "patch_features": "tumorbase.ingest.patch_features:read_patch_features",
}

# Source -> its planner. The cohort folder has its own signature and is called by ingest.planning.
PLANNERS: dict[str, str] = {
    "cohort": "tumorbase.ingest.cohort:plan_cohort",
    "dicom": "tumorbase.ingest.dicom_tree:plan_dicom",
    "nifti": "tumorbase.ingest.nifti_plan:plan_nifti",
    "slides": "tumorbase.ingest.slide_plan:plan_slides",
    "nuclei": "tumorbase.ingest.nuclei:plan_nuclei",
    "features": "tumorbase.ingest.patch_features:plan_patch_features",
    "tcga": "tumorbase.ingest.tcga:plan_tcga",
    "deeplesion": "tumorbase.ingest.deeplesion:plan_deeplesion",
    "pyradiomics": "tumorbase.ingest.pyradiomics_csv:plan_pyradiomics",
}


def reader_of(kind: str) -> Reader:
    """The function that reads items of this kind."""
    return _load(READERS[kind])


def planner_of(source: str) -> Callable[..., Any]:
    """The function that plans this source."""
    return _load(PLANNERS[source])


def _load(target: str) -> Callable[..., Any]:
    module, function = target.split(":")
    loaded: Callable[..., Any] = getattr(import_module(module), function)
    return loaded
