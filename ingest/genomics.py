"""Genomic tables of a cohort folder: a profile a row, in columns GENE_rnaseq, _cnv and _mut.

Only a column so called is a gene: published tables have labels beside them, numbers such as train,
survival_months and censorship, from which a model would read the outcome.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tumorbase.ingest.chosen_encoders import encoders_of
from tumorbase.ingest.clinical import TIME_COLUMNS
from tumorbase.ingest.csv_table import CsvTable, read_csv_table
from tumorbase.ingest.item import Context, Item, ItemRows, Rejected, VectorRows
from tumorbase.ingest.metadata_rows import metadata_rows
from tumorbase.ingest.row_checks import LARGEST_MEASURE, RowChecks, parse_numbers
from tumorbase.ingest.staging import stage, vector_batch
from tumorbase.models.encoders import EncoderSpec
from tumorbase.models.gene_pca import GenePca
from tumorbase.models.gene_signatures import KINDS, GeneSignatures
from tumorbase.models.genomic_profile import GenomicProfile
from tumorbase.models.weights import UnusableWeights
from tumorbase.store.errors import BadInput

GENE_SUFFIXES = tuple(f"_{kind}" for kind in KINDS)
_EXPECTED = "expected GENE_rnaseq, GENE_cnv or GENE_mut"
_NAMED = 12  # columns that a message names


def read_genomics_table(item: Item, context: Context) -> ItemRows:
    """A table of patient_id and genes; its second file, if it has one, is a signatures.csv.

    An empty cell is a missing value; a row with NaN, infinity or a text in it is rejected. What is
    no gene by its name, or holds nothing but texts, is left out by name.

    Raises:
        BadInput: the file cannot be read, or has no patient_id or no gene.
    """
    table = read_csv_table(item.path)
    table.require(["patient_id"])
    checks = RowChecks(table)
    patients = checks.patients("patient_id", context.known_patients)
    checks.refuse_duplicates([patients], "patient")
    named = [name for name in table.names if name.endswith(GENE_SUFFIXES)]
    others = [n for n in table.names if n not in ("patient_id", *TIME_COLUMNS, *named)]
    panel, left_out = gene_columns(table, named)
    if others:
        reason = (
            f"columns that are no genes by their names are left out: {_shown(others)}; {_EXPECTED}"
        )
        left_out.append(Rejected(table.path, reason))
    measured = measured_columns(checks, panel)
    times = {name: checks.times(name) for name in TIME_COLUMNS}
    keep = checks.keep
    times = {name: column.filter(pa.array(keep)) for name, column in times.items()}
    groups = read_signatures(item.files[1]) if len(item.files) > 1 else {}
    rows = profile_rows(
        Path(item.path).stem, patients.filter(pa.array(keep)), panel, measured[keep], times
    )
    vectors, not_encoded = profile_vectors(
        rows["profile"], panel, measured[keep], groups, item.path, context
    )
    return ItemRows(rows, vectors, [*checks.rejected, *left_out, *not_encoded])


def gene_columns(table: CsvTable, names: Sequence[str]) -> tuple[list[str], list[Rejected]]:
    """The columns among `names` that hold numbers, and a refusal of each that holds none.

    Raises:
        BadInput: there is none.
    """
    genes, left_out = [], []
    for name in names:
        cells = table.column(name)
        # A column with one bad cell is a column of numbers still: that row is refused.
        if np.isfinite(parse_numbers(cells)).any() or cells.unique().to_pylist() in ([], [""]):
            genes.append(name)
        else:
            left_out.append(Rejected(table.path, f"column {name} holds no number: {_EXPECTED}"))
    if not genes:
        raise BadInput(table.path, f"{_EXPECTED} with numbers, got {_shown(table.names)}")
    return genes, left_out


def _shown(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(name or "one without a name" for name in names[:_NAMED]) + more


def measured_columns(checks: RowChecks, panel: Sequence[str]) -> np.ndarray:
    """The panel's columns, float32 (rows, columns), NaN where empty; bad rows are refused."""
    measured = np.empty((len(checks.table.lines), len(panel)), dtype=np.float32)
    for index, name in enumerate(panel):
        measured[:, index] = checks.numbers(name, largest=LARGEST_MEASURE)
    return measured


def read_signatures(path: str) -> dict[str, list[str]]:
    """Groups of genes: one a column, its name in the header, gene symbols below, blank-padded.

    Raises:
        BadInput: it cannot be read, or a group has no gene.
    """
    table = read_csv_table(path)
    groups = {
        name: [gene for gene in table.column(name).to_pylist() if gene] for name in table.names
    }
    for name, genes in groups.items():
        if not genes:
            raise BadInput(path, f"signature {name!r} has no gene")
    return groups


def profile_rows(
    source: str,
    patients: pa.StringArray,
    panel: Sequence[str],
    measured: np.ndarray,
    times: dict[str, pa.Array],
) -> dict[str, pa.Table]:
    """Rows of patients, their profiles and the panel.

    Args:
        source: name of the table; a patient may have a profile of each.
        patients: one a profile, none twice.
        panel: names of the columns.
        measured: float32 (profiles, columns).
        times: event_time and known_at of each profile, where there are any.
    """
    panel_id = hashlib.sha256("\n".join(panel).encode()).hexdigest()[:16]
    ids = [f"{patient}/{source}-{panel_id[:8]}" for patient in patients.to_pylist()]
    values = pa.array(np.ascontiguousarray(measured, dtype=np.float32).reshape(-1))
    offsets = np.arange(len(measured) + 1, dtype=np.int32) * len(panel)
    profiles = {
        "profile_id": pa.array(ids, pa.string()),
        "patient_id": patients,
        "panel_id": pa.array([panel_id] * len(ids), pa.string()),
        "measured": pa.ListArray.from_arrays(pa.array(offsets), values),
        **times,
    }
    return {
        "patient": metadata_rows("patient", {"patient_id": patients}),
        "panel": metadata_rows("panel", {"panel_id": [panel_id], "columns": [list(panel)]}),
        "profile": metadata_rows("profile", profiles),
    }


def profile_vectors(
    profiles: pa.Table,
    panel: Sequence[str],
    measured: np.ndarray,
    groups: dict[str, list[str]],
    path: str,
    context: Context,
) -> tuple[list[VectorRows], list[Rejected]]:
    """Staged vectors: signature scores if the groups have columns in the panel, else components;
    and those of the run's networks, or a refusal where the panel lacks most of one's columns.

    Args:
        profiles: rows of `METADATA["profile"]`.
        panel: names of the columns.
        measured: float32 (profiles, columns), NaN where missing.
        groups: genes of each signature; empty if there are none.
        path: of the table, for messages.
        context: of the run.
    """
    if len(measured) == 0:
        return [], []
    staged, rejected = [], []
    for encoder in encoders_of(context, "profile"):
        batch = [GenomicProfile(tuple(panel), values) for values in measured]
        try:
            vectors = encoder.encode(batch)
        except UnusableWeights:
            raise  # they are to blame, not the table
        except ValueError as error:
            reason = f"has no vectors of {encoder.spec.name}: {error}"
            rejected.append(Rejected(path, reason))
            continue
        staged.append(_staged(context, encoder.spec, profiles, vectors, b""))
    if groups:
        signatures = GeneSignatures(groups, panel)
        if signatures.columns_used:
            vectors = signatures.encode(measured)
            staged.append(_staged(context, signatures.spec, profiles, vectors, b""))
            return staged, rejected
    try:
        pca = GenePca.fit(panel, measured)
    except ValueError:
        return staged, rejected  # too few profiles, or all alike: there is nothing to tell apart
    staged.append(_staged(context, pca.spec, profiles, pca.encode(measured), pca.artefact))
    return staged, rejected


def _staged(
    context: Context,
    spec: EncoderSpec,
    profiles: pa.Table,
    vectors: np.ndarray,
    artefact: bytes,
) -> VectorRows:
    columns = {name: profiles[name] for name in ("profile_id", "patient_id")}
    staged = stage(context, spec, [vector_batch(spec, columns, vectors)])
    return VectorRows(staged.spec, staged.path, staged.rows, artefact)
