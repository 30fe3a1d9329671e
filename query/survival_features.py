"""What survival models see of a patient: one row of numbers, NaN where a modality is missing.

The features are those of the baseline: of a patient's lesions, the ones of the first study that has
any. What later studies show is known only of those who lived to have them. Slides, profiles and
covariates count whatever their time, as a store does not know when that of an outcome begins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tumorbase.models.lesion_assignment import NODE
from tumorbase.query.level_columns import covariates
from tumorbase.query.study_lesions import MEASUREMENT, study_lesions
from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.errors import NotFound
from tumorbase.store.view import View

MODALITIES = ("lesion", "slide", "profile", "clinical")
BURDEN = ("lesions", "nodes", "total_volume_mm3", "longest_axis_mm")
MIN_CATEGORY_PATIENTS = 3  # a category of fewer patients tells who they are, not how they do

_PATIENTS = "SELECT patient_id FROM patient"
_GENES = """
SELECT DISTINCT unnest(p.columns) AS gene FROM panel p
WHERE p.panel_id IN (SELECT panel_id FROM profile) ORDER BY gene
"""
_PROFILES = """
SELECT p.patient_id, p.panel_id, p.measured FROM profile p ORDER BY p.panel_id, p.profile_id
"""


@dataclass(frozen=True)
class FeatureBlock:
    """Columns of one modality that come from one source: an encoder's id, or what `source` says."""

    modality: str  # one of MODALITIES
    source: str  # encoder_id, "burden", "genes" or "covariates"
    columns: tuple[str, ...]


@dataclass(frozen=True)
class PatientFeatures:
    """`matrix` float64 (patients, features), NaN where missing, in the order of the blocks' columns
    and then one indicator a modality; `present` bool (patients, modalities).
    """

    matrix: np.ndarray
    present: np.ndarray


def feature_blocks(view: View) -> tuple[FeatureBlock, ...]:
    """All that the store knows of its patients, as blocks of features."""
    blocks = []
    if view.sql("SELECT 1 FROM lesion LIMIT 1").num_rows:
        blocks.append(FeatureBlock("lesion", "burden", BURDEN))
    blocks += [
        FeatureBlock(level, encoder.encoder_id, _vector_columns(encoder))
        for level in ("lesion", "slide")
        for encoder in view.fullest_encoders(level)
    ]
    blocks.append(FeatureBlock("profile", "genes", measured_genes(view)))
    blocks.append(FeatureBlock("clinical", "covariates", _covariate_columns(covariates(view))))
    return tuple(block for block in blocks if block.columns)


def measured_genes(view: View) -> tuple[str, ...]:
    """Names of the columns of all genomic profiles, in their order."""
    return tuple(view.sql(_GENES)["gene"].to_pylist())


def patient_features(
    view: View, blocks: tuple[FeatureBlock, ...], patient_ids: list[str]
) -> PatientFeatures:
    """The patients' values of these blocks, in the order of `patient_ids`.

    Vectors of a patient's baseline lesions are averaged, weighted by volume (else by the long axis
    cubed); slides and profiles are averaged; covariates are their last known value, categories as
    0 and 1. All are in the units in which they are stored. A source that the store no longer has is
    missing.

    Raises:
        NotFound: the store has no such patient.
    """
    known = set(view.sql(_PATIENTS)["patient_id"].to_pylist())
    for patient_id in patient_ids:
        if patient_id not in known:
            raise NotFound("patient", patient_id)
    patients = pa.array(patient_ids, pa.string())
    parts = [_block_values(view, block, patients) for block in blocks]
    present = np.zeros((len(patient_ids), len(MODALITIES)), dtype=bool)
    for block, values in zip(blocks, parts, strict=True):
        present[:, MODALITIES.index(block.modality)] |= np.isfinite(values).any(axis=1)
    return PatientFeatures(np.concatenate([*parts, present.astype(float)], axis=1), present)


def _block_values(view: View, block: FeatureBlock, patients: pa.Array) -> np.ndarray:
    """Values of one block, float64 (patients, columns)."""
    if block.source == "burden":
        return _burden(view, patients)
    if block.source == "genes":
        return _gene_values(view, block.columns, patients)
    if block.source == "covariates":
        return _covariate_values(covariates(view), block.columns, patients)
    return _vector_values(view, block, patients)


def _vector_columns(encoder: StoredEncoder) -> tuple[str, ...]:
    names = encoder.feature_names or tuple(str(index) for index in range(encoder.dim))
    return tuple(f"{encoder.name}:{name}" for name in names)


def _vector_values(view: View, block: FeatureBlock, patients: pa.Array) -> np.ndarray:
    """Weighted mean of the encoder's vectors of each patient."""
    try:
        encoder = view.encoder(block.modality, block.source)
    except NotFound:
        return np.full((len(patients), len(block.columns)), np.nan)
    vectors = view.vectors(encoder)
    weights = np.ones(len(vectors.raw))
    if block.modality == "lesion":
        id_column = "lesion_id" if encoder.name == MEASUREMENT else "vector_id"
        weights = _baseline_weights(view, vectors.rows["lesion_id"], id_column)
    return _patient_means(patients, vectors.rows["patient_id"], vectors.raw, weights)


def _baseline_weights(view: View, lesion_ids: pa.ChunkedArray, id_column: str) -> np.ndarray:
    """Volume of each lesion if it is of its patient's first study, else 0.

    `id_column` of `study_lesions` says under which id a lesion's vector is.
    """
    lesions = _baseline_lesions(view)
    cubed_mm3 = pc.power(lesions["long_axis_mm"], 3)
    volumes = pc.coalesce(lesions["volume_mm3"], cubed_mm3, pa.scalar(1.0)).combine_chunks()
    place = pc.index_in(lesion_ids, value_set=lesions[id_column].combine_chunks())
    return volumes.take(place.combine_chunks()).fill_null(0.0).to_numpy(zero_copy_only=False)


def _baseline_lesions(view: View) -> pa.Table:
    lesions = study_lesions(view)
    return lesions.filter(pc.equal(lesions["study_number"], 1))


def _burden(view: View, patients: pa.Array) -> np.ndarray:
    """Number of lesions and of nodes, total volume and longest axis at the first study."""
    lesions = _baseline_lesions(view)
    is_node = pc.fill_null(
        pc.match_substring(lesions["region"], NODE, ignore_case=True), False
    ).cast(pa.int64())
    grouped = (
        lesions.append_column("is_node", is_node)
        .group_by("patient_id")
        .aggregate(
            [
                ("lesion_id", "count"),
                ("is_node", "sum"),
                ("volume_mm3", "sum"),
                ("long_axis_mm", "max"),
            ]
        )
    )
    place = pc.index_in(patients, value_set=grouped["patient_id"].combine_chunks())
    columns = [grouped[name].combine_chunks().take(place) for name in grouped.column_names[1:]]
    return np.stack([_numbers(column) for column in columns], axis=1)


def _gene_values(view: View, genes: tuple[str, ...], patients: pa.Array) -> np.ndarray:
    """Mean of each patient's profiles, gene by gene over those that measured it."""
    profiles = view.sql(_PROFILES)
    column_of = {gene: index for index, gene in enumerate(genes)}
    total = np.zeros((len(patients), len(genes)))
    count = np.zeros((len(patients), len(genes)))
    for panel in view.table("panel").to_pylist():
        rows = profiles.filter(pc.equal(profiles["panel_id"], panel["panel_id"]))
        place = _numbers(pc.index_in(rows["patient_id"], value_set=patients), missing=-1)
        known = np.flatnonzero(place >= 0)
        if not len(known):
            continue
        values = pc.list_flatten(rows["measured"]).to_numpy().reshape(-1, len(panel["columns"]))
        wanted = np.flatnonzero([gene in column_of for gene in panel["columns"]])
        target = np.array([column_of[panel["columns"][index]] for index in wanted], dtype=np.intp)
        measured = values[np.ix_(known, wanted)].astype(float)
        cells = (place[known].astype(np.intp)[:, None], target[None, :])
        np.add.at(total, cells, np.nan_to_num(measured))
        np.add.at(count, cells, np.isfinite(measured))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _covariate_columns(table: pa.Table) -> tuple[str, ...]:
    """Names of the numeric covariates, and NAME=CATEGORY for common categories of the others."""
    names = []
    for name in table.column_names[1:]:
        if pa.types.is_floating(table[name].type):
            names.append(name)
            continue
        counted = pc.value_counts(table[name].drop_null().combine_chunks()).to_pylist()
        names += sorted(
            f"{name}={each['values']}"
            for each in counted
            if each["counts"] >= MIN_CATEGORY_PATIENTS
        )
    return tuple(names)


def _covariate_values(table: pa.Table, columns: tuple[str, ...], patients: pa.Array) -> np.ndarray:
    rows = table.take(pc.index_in(patients, value_set=table["patient_id"].combine_chunks()))
    return np.stack([_covariate_column(rows, column) for column in columns], axis=1)


def _covariate_column(rows: pa.Table, column: str) -> np.ndarray:
    """A number, or 0 and 1 for NAME=CATEGORY; NaN where the covariate is not known."""
    name, _, category = column.partition("=")
    if column in rows.column_names and pa.types.is_floating(rows[column].type):
        return _numbers(rows[column])
    if name in rows.column_names and not pa.types.is_floating(rows[name].type):
        return _numbers(pc.equal(rows[name], category).cast(pa.float64()))
    return np.full(rows.num_rows, np.nan)


def _patient_means(
    patients: pa.Array, owners: pa.ChunkedArray, values: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Weighted mean of the rows of each patient, float64 (patients, columns); NaN without rows."""
    place = _numbers(pc.index_in(owners, value_set=patients), missing=-1).astype(np.intp)
    mine = np.flatnonzero((place >= 0) & (weights > 0))
    total = np.zeros((len(patients), values.shape[1]))
    np.add.at(total, place[mine], values[mine] * weights[mine, None])
    weight = np.bincount(place[mine], weights[mine], minlength=len(patients))[:, None]
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1.0), np.nan)


def _numbers(column: pa.Array | pa.ChunkedArray, missing: float = np.nan) -> np.ndarray:
    """The column as float64, null as `missing`."""
    filled = pc.fill_null(column.cast(pa.float64()), missing)
    return filled.to_numpy() if isinstance(filled, pa.ChunkedArray) else np.asarray(filled)
