"""A query vector from a .npy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tumorbase.store.errors import InvalidRequest


def read_vector(file: Path) -> np.ndarray:
    """The vector, float32 of shape (dim,), finite; a file of shape (1, dim) will do.

    Raises:
        InvalidRequest: the file is no .npy file, or holds something else.
    """
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InvalidRequest(f"{file}: expected a whole .npy file of numbers") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise InvalidRequest(f"{file}: expected one array of real numbers")
    if array.ndim == 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 1 or array.size == 0:
        raise InvalidRequest(f"{file}: expected the shape (dim,), got {array.shape}")
    vector = array.astype(np.float32)
    if not np.isfinite(vector).all():
        raise InvalidRequest(f"{file}: the vector must be finite")
    return vector
