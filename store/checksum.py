"""A checksum of vector rows that does not depend on their order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pandas.util import hash_array

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplying by it loses nothing (Knuth)


def checksum_rows(ids: pa.Array | pa.ChunkedArray, vectors: np.ndarray) -> int:
    """Sum modulo 2**63 of a hash a row, over its id and its vector's bits, float32 (n, dim)."""
    if len(ids) == 0:
        return 0
    id_hashes = hash_array(ids.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    bits = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32).astype(np.uint64)
    with np.errstate(over="ignore"):
        columns = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * _MULTIPLIER | np.uint64(1)
        rows = (id_hashes ^ (bits * columns).sum(axis=1)) * _MULTIPLIER
        rows ^= rows >> np.uint64(29)
        total = rows.sum(dtype=np.uint64)
    return int(total & np.uint64(2**63 - 1))
