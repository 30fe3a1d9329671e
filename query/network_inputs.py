"""What survival networks see of patients: bags of patches and vectors of genes, standardised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tumorbase.models.gene_groups import GeneGroups
from tumorbase.models.gene_signatures import groups_of
from tumorbase.models.standardisation import column_statistics, standardise
from tumorbase.models.survival_architectures import ARCHITECTURES
from tumorbase.models.survival_training import PatientInputs
from tumorbase.query.patch_bags import PatchBags
from tumorbase.query.similar import choose_encoder
from tumorbase.query.survival_features import (
    MODALITIES,
    FeatureBlock,
    feature_blocks,
    patient_features,
)
from tumorbase.store.errors import NotEnoughData
from tumorbase.store.view import View


@dataclass(frozen=True)
class InputSpec:
    """What a network takes of a patient.

    `encoder_id` is that of its patch vectors of `patch_dim`, empty and 0 for none; `columns` are
    those of its genomic profile, none for no genes; `groups` hold the columns of each of its
    vectors of genes, None where all of them are one vector.
    """

    encoder_id: str
    patch_dim: int
    columns: tuple[str, ...]
    groups: GeneGroups | None

    @property
    def omic_sizes(self) -> tuple[int, ...]:
        """Number of genes in each vector of them."""
        if self.groups:
            return self.groups.sizes
        return (len(self.columns),) if self.columns else ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that it takes, of "patch" and "profile"."""
        return ("patch",) * bool(self.encoder_id) + ("profile",) * bool(self.columns)


@dataclass(frozen=True)
class Scaling:
    """Means and deviations by which inputs are standardised, of empty arrays for what is not taken.

    Those of patches are over all patches of all patients, (patch_dim,); those of genes (columns,).
    """

    patch_mean: np.ndarray
    patch_sd: np.ndarray
    gene_mean: np.ndarray
    gene_sd: np.ndarray


def input_spec(view: View, architecture: str) -> InputSpec:
    """What an architecture takes of this store: vectors of its preferred patch encoder, its genes.

    Raises:
        NotEnoughData: the store has no patch vectors, no profiles or no gene groups, and the
            architecture takes them.
    """
    takes = ARCHITECTURES[architecture]
    encoder_id, patch_dim = "", 0
    if takes.takes_patches:
        if not view.encoders("patch"):
            raise NotEnoughData(
                f"{architecture} takes patch vectors, and the store has none: ingest slides or "
                "patch features"
            )
        encoder = choose_encoder(view, "patch")
        encoder_id, patch_dim = encoder.encoder_id, encoder.dim
    if takes.genes == "none":
        return InputSpec(encoder_id, patch_dim, (), None)
    panel = next((block.columns for block in feature_blocks(view) if block.source == "genes"), ())
    if not panel:
        raise NotEnoughData(f"{architecture} takes genomic profiles, and the store has none")
    if takes.genes == "panel":
        return InputSpec(encoder_id, patch_dim, panel, None)
    groups = _gene_groups(view, architecture, panel)
    columns = sorted({column for group in groups.columns for column in group})
    return InputSpec(encoder_id, patch_dim, tuple(columns), groups)


class NetworkInputs:
    """Patients as a network sees them; genes are in memory, bags are read when asked for."""

    def __init__(self, view: View, spec: InputSpec, patient_ids: Sequence[str]) -> None:
        """Of these patients.

        Raises:
            NotFound: the store has no such patient, or no such patch encoder.
        """
        self._spec = spec
        self._patient_ids = list(patient_ids)
        block = FeatureBlock("profile", "genes", spec.columns)
        features = patient_features(view, (block,), self._patient_ids)
        self._genes = features.matrix[:, : len(spec.columns)]  # (patients, columns)
        self._has_profile = features.present[:, MODALITIES.index("profile")]
        self._bags = None
        if spec.encoder_id:
            self._bags = PatchBags(view, view.encoder("patch", spec.encoder_id))

    def present(self) -> np.ndarray:
        """Which of the spec's modalities each patient has, bool (patients, modalities)."""
        present = {"profile": self._has_profile}
        if self._bags:
            owners = self._bags.patients()
            present["patch"] = np.array([patient in owners for patient in self._patient_ids])
        return np.stack([present[modality] for modality in self._spec.modalities], axis=1)

    def scaling(self, rows: np.ndarray) -> Scaling:
        """Means and deviations of the patients in `rows`, who have all that the network takes."""
        patch_mean, patch_sd = np.empty(0), np.empty(0)
        if self._bags:
            patches = self._bags.statistics(self._patient_ids[row] for row in rows)
            patch_mean, patch_sd = patches.mean, patches.deviation
        return Scaling(patch_mean, patch_sd, *column_statistics(self._genes[rows]))

    def reader(self, scaling: Scaling) -> Callable[[int], PatientInputs]:
        """Gives the inputs of the patient in a row; a gene that was not measured is at its mean."""
        genes = standardise(self._genes, scaling.gene_mean, scaling.gene_sd).astype(np.float32)
        groups = self._spec.groups
        omics = groups.split(genes, self._spec.columns) if groups else [genes]
        mean, sd = scaling.patch_mean.astype(np.float32), scaling.patch_sd.astype(np.float32)

        def read(row: int) -> PatientInputs:
            patches = torch.empty(0, 0)
            if self._bags:
                bag = self._bags.bag(self._patient_ids[row])
                patches = torch.from_numpy((bag - mean) / sd)
            vectors = omics if self._spec.columns else []
            return PatientInputs(patches, tuple(torch.from_numpy(each[row]) for each in vectors))

        return read


def _gene_groups(view: View, architecture: str, panel: Sequence[str]) -> GeneGroups:
    """The groups of the signatures.csv that most profiles were ingested with."""
    encoders = [each for each in view.fullest_encoders("profile") if each.name == "gene-signatures"]
    if not encoders:
        raise NotEnoughData(
            f"{architecture} takes groups of genes, and the store has none: ingest the genomic "
            "tables with a signatures.csv beside them"
        )
    try:
        return GeneGroups.of_panel(groups_of(encoders[0].preprocessing), panel)
    except ValueError as error:
        raise NotEnoughData(f"{architecture} takes groups of genes: {error}") from error
