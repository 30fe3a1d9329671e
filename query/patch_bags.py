"""All patch vectors of a patient as one bag."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc

from tumorbase.store.encoder_row import StoredEncoder
from tumorbase.store.statistics import VectorStatistics, describe_vectors, merge_statistics
from tumorbase.store.vectors import vector_matrix
from tumorbase.store.view import View

KEPT_BYTES = 4 * 1024**3  # of bags in memory; what is beyond is read whenever it is asked for
_PLACE = [(name, "ascending") for name in ("slide_id", "y_level0_px", "x_level0_px", "patch_id")]


class PatchBags:
    """Reads the bags of one encoder, as they are stored."""

    def __init__(self, view: View, encoder: StoredEncoder) -> None:
        self._view = view
        self._encoder = encoder
        self._kept: dict[str, np.ndarray] = {}
        self._kept_bytes = 0
        self._statistics: dict[str, VectorStatistics] = {}

    def patients(self) -> set[str]:
        """Those who have a patch."""
        found: set[str] = set()
        for batch in self._view.scan(self._encoder, ["patient_id"]):
            found.update(pc.unique(batch.column("patient_id")).to_pylist())
        return found

    def bag(self, patient_id: str) -> np.ndarray:
        """A patient's patches slide by slide, row by row, float32 (patches, dim)."""
        if patient_id in self._kept:
            return self._kept[patient_id]
        rows = self._view.of_patient(self._encoder, patient_id).sort_by(_PLACE)
        bag = np.asarray(vector_matrix(rows["vector"]), dtype=np.float32)
        if self._kept_bytes + bag.nbytes <= KEPT_BYTES:
            self._kept[patient_id] = bag
            self._kept_bytes += bag.nbytes
        return bag

    def statistics(self, patient_ids: Iterable[str]) -> VectorStatistics:
        """Mean and deviation of all patches of these patients, who have some, together."""
        return merge_statistics(self._describe(patient_id) for patient_id in patient_ids)

    def _describe(self, patient_id: str) -> VectorStatistics:
        if patient_id not in self._statistics:
            self._statistics[patient_id] = describe_vectors(self.bag(patient_id))
        return self._statistics[patient_id]
