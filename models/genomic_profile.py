"""A genomic profile: what was measured of one patient, by the names of its columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class GenomicProfile:
    """`values` float32 (columns,), NaN where missing, of the columns GENE_rnaseq, _cnv or _mut."""

    columns: tuple[str, ...]
    values: np.ndarray
