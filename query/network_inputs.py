"""What survival networks see of patients: bags of patches and vectors of genes, standardised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tumorbase.models.gene_groups import GeneGroups
from tumorbase.models.gene_signatures import groups_of
from tumorbase.models.standardisation import column_statistics, standardise
from tumorbase.models.survival_architectures import ARCHITECTURES
from tumorbase.models.survival_training import PatientInputs
from tumorbase.query.patch_bags import PatchBags
from tumorbase.query.similar import choose_encoder
from tumorbase.query.survival_features import FeatureBlock, measured_genes, patient_features
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
    panel = measured_genes(view)
    if not panel:
        raise NotEnoughData(f"{architecture} takes genomic profiles, and the store has none")
    if takes.genes == "panel":
        return InputSpec(encoder_id, patch_dim, panel, None)
    groups = _gene_groups(view, architecture, panel)
    columns = sorted({column for group in groups.columns for column in group})
    return InputSpec(encoder_id, patch_dim, tuple(columns), groups)


@dataclass(frozen=True, eq=False)
class NetworkInputs:
    """Patients as a network sees them; genes are in memory, bags are read when asked for.

    `genes` is float64 (patients, columns of the spec), NaN where not measured; `bags` is None where
    the spec takes no patches. `before_each` is called before a patient is read, however often that
    is; what it raises ends the reading.
    """

    spec: InputSpec
    patient_ids: list[str]
    genes: np.ndarray
    bags: PatchBags | None
    before_each: Callable[[], None]

    @classmethod
    def read(
        cls,
        view: View,
        spec: InputSpec,
        patient_ids: list[str],
        before_each: Callable[[], None] = lambda: None,
    ) -> NetworkInputs:
        """Of these patients.

        Raises:
            NotFound: the store has no such patient, or no such patch encoder.
        """
        blocks = (FeatureBlock("profile", "genes", spec.columns),) if spec.columns else ()
        genes = patient_features(view, blocks, patient_ids).matrix[:, : len(spec.columns)]
        encoder = view.encoder("patch", spec.encoder_id) if spec.encoder_id else None
        bags = PatchBags(view, encoder) if encoder else None
        return cls(spec, patient_ids, genes, bags, before_each)

    def present(self) -> np.ndarray:
        """Which of the spec's modalities each patient has, bool (patients, modalities)."""
        present = {"profile": np.isfinite(self.genes).any(axis=1)}
        if self.bags:
            owners = self.bags.patients()
            present["patch"] = np.array([patient in owners for patient in self.patient_ids])
        return np.stack([present[modality] for modality in self.spec.modalities], axis=1)

    def notes(self) -> tuple[str, ...]:
        """A note on patients most of whose genes were not measured, if there are any."""
        if not self.spec.columns:
            return ()
        few = int((np.isfinite(self.genes).mean(axis=1) < 0.5).sum())
        note = f"{few} patients have less than half of the {len(self.spec.columns)} genes"
        return (f"{note}: the others are taken at their means",) if few else ()

    def where(self, keep: np.ndarray) -> NetworkInputs:
        """Those of the patients for whom `keep`, bool (patients,), is true."""
        kept = [patient for patient, is_kept in zip(self.patient_ids, keep, strict=True) if is_kept]
        return replace(self, patient_ids=kept, genes=self.genes[keep])

    def scaling(self, rows: np.ndarray) -> Scaling:
        """Means and deviations of the patients in `rows`, who have all that the network takes."""
        patch_mean, patch_sd = np.empty(0), np.empty(0)
        if self.bags:
            patches = self.bags.statistics(map(self._asked_for, rows))
            patch_mean, patch_sd = patches.mean, patches.deviation
        return Scaling(patch_mean, patch_sd, *column_statistics(self.genes[rows]))

    def reader(self, scaling: Scaling) -> Callable[[int], PatientInputs]:
        """Gives the inputs of the patient in a row; a gene that was not measured is at its mean."""
        genes = standardise(self.genes, scaling.gene_mean, scaling.gene_sd).astype(np.float32)
        omics = [genes] if self.spec.columns else []
        if self.spec.groups:
            omics = self.spec.groups.split(genes, self.spec.columns)
        mean, sd = scaling.patch_mean.astype(np.float32), scaling.patch_sd.astype(np.float32)

        def read(row: int) -> PatientInputs:
            patient_id, patches = self._asked_for(row), torch.empty(0, 0)
            if self.bags:
                patches = torch.from_numpy((self.bags.bag(patient_id) - mean) / sd)
            return PatientInputs(patches, tuple(torch.from_numpy(each[row]) for each in omics))

        return read

    def _asked_for(self, row: int) -> str:
        """The patient in a row, who is about to be read."""
        self.before_each()
        return self.patient_ids[row]


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
