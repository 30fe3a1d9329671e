"""Phantom gene expression: six groups of genes whose mean shifts with the risk or the subtype."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumorbase.server.demo.phantom_truth import PatientTruth

# The six groups of Chen et al. 2021 (MCAT, section 3.2), a few genes of each, none in two groups.
GENE_GROUPS: dict[str, tuple[str, ...]] = {
    "Tumor Suppressor Genes": (
        "APC",
        "ATM",
        "BRCA2",
        "CDKN2A",
        "NF1",
        "PTEN",
        "RB1",
        "TP53",
        "VHL",
    ),
    "Oncogenes": ("ABL1", "BCL2", "CCND1", "KRAS", "MDM2", "MYC", "NRAS", "REL"),
    "Protein Kinases": ("AKT1", "ALK", "AURKA", "BRAF", "CDK4", "EGFR", "ERBB2", "MET", "RET"),
    "Cell Differentiation Markers": (
        "CD3E",
        "CD4",
        "CD8A",
        "CD19",
        "CD34",
        "CD44",
        "CD68",
        "EPCAM",
    ),
    "Transcription Factors": (
        "FOXA1",
        "GATA3",
        "HNF1A",
        "HNF4A",
        "NKX2-1",
        "PAX8",
        "SOX2",
        "STAT3",
    ),
    "Cytokines and Growth Factors": (
        "CCL5",
        "CSF1",
        "CXCL9",
        "EGF",
        "HGF",
        "IL6",
        "TGFB1",
        "VEGFA",
    ),
}

# Shift of a group's mean expression, in standard deviations, for one unit of risk.
_SHIFT_PER_RISK = {
    "Tumor Suppressor Genes": -0.6,
    "Oncogenes": 0.7,
    "Protein Kinases": 0.4,
    "Cell Differentiation Markers": -0.5,
    "Transcription Factors": 0.0,
    "Cytokines and Growth Factors": 0.3,
}
# The lineage genes of the subtypes, lung, liver and kidney.
_LINEAGE = {"NKX2-1": "lung", "HNF4A": "liver", "HNF1A": "liver", "PAX8": "kidney", "VHL": "kidney"}


def write_genomics(
    rng: np.random.Generator, folder: Path, patients: Sequence[PatientTruth]
) -> None:
    """rna.csv, a row a patient of `GENE_rnaseq` and some `GENE_cnv`, and signatures.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    genes = [(gene, group) for group, members in GENE_GROUPS.items() for gene in members]
    risk = np.array([patient.risk for patient in patients])
    shift = np.array([_SHIFT_PER_RISK[group] for _, group in genes])
    lineage = np.array(
        [[2.0 * (_LINEAGE.get(gene) == p.subtype) for gene, _ in genes] for p in patients]
    )
    expression = risk[:, None] * shift + lineage + rng.normal(0, 1, (len(patients), len(genes)))
    copies = np.clip(np.round(risk[:, None] * shift + rng.normal(0, 0.6, expression.shape)), -2, 2)
    altered = [
        index for index, (_, group) in enumerate(genes) if "Onco" in group or "Supp" in group
    ]
    header = ["patient_id", *(f"{gene}_rnaseq" for gene, _ in genes)]
    header += [f"{genes[index][0]}_cnv" for index in altered]
    with (folder / "rna.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for patient, row, copy in zip(patients, expression, copies, strict=True):
            writer.writerow(
                [patient.patient_id, *(f"{v:.4f}" for v in row), *(int(copy[i]) for i in altered)]
            )
    _write_signatures(folder / "signatures.csv")


def _write_signatures(path: Path) -> None:
    """One column a group, its genes below, padded with blanks."""
    longest = max(map(len, GENE_GROUPS.values()))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(GENE_GROUPS)
        for row in range(longest):
            writer.writerow(
                genes[row] if row < len(genes) else "" for genes in GENE_GROUPS.values()
            )
