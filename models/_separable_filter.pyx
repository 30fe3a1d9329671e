# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Correlation with a kernel that is a product of two, for `hovernet_slopes` and `hovernet_post`."""

import numpy as np

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc


def correlate(
    const float[:, ::1] image,
    const double[::1] along_rows,
    const double[::1] along_columns,
    double factor=1.0,
    double shift=0.0,
):
    """The image, times `factor` minus `shift` and rounded to float32, correlated with both kernels.

    Beyond its borders it is mirrored, the outermost pixel not repeated: OpenCV's reflect-101.

    Args:
        image: of at least one pixel.
        along_rows: the kernel from left to right; of an odd length, its last half the mirror image
            of its first, or the negative of that.
        along_columns: the one from top to bottom, of the same length.
        factor: of each pixel.
        shift: taken off it.

    Returns:
        float64 (H, W).
    """
    cdef int64_t height = image.shape[0]
    cdef int64_t width = image.shape[1]
    cdef int64_t n_taps = along_rows.shape[0]
    cdef int64_t half = n_taps // 2
    cdef const int64_t[::1] row_of = mirrored(height, half)
    cdef const int64_t[::1] column_of = mirrored(width, half)
    result = np.empty((height, width))
    cdef double[:, ::1] out = result
    cdef double[::1] line = np.empty(width + 2 * half)
    # The last rows, each correlated along itself: the taps of a column.
    cdef double[:, ::1] lines = np.empty((n_taps, width))
    cdef const double** taps = <const double**>malloc(n_taps * sizeof(double*))
    if taps == NULL:
        raise MemoryError
    cdef int64_t row, column, k
    with nogil:
        for row in range(height + 2 * half):
            for column in range(width):
                line[half + column] = <float>(image[row_of[row], column] * factor - shift)
            for column in range(half):
                line[column] = line[half + column_of[column]]
                line[half + width + column] = line[half + column_of[half + width + column]]
            for k in range(n_taps):
                taps[k] = &line[k]
            fold(taps, &along_rows[0], half, width, &lines[row % n_taps, 0])
            if row >= 2 * half:
                for k in range(n_taps):
                    taps[k] = &lines[(row - 2 * half + k) % n_taps, 0]
                fold(taps, &along_columns[0], half, width, &out[row - 2 * half, 0])
    free(taps)
    return result


cdef object mirrored(int64_t side, int64_t border):
    """The row (or column) of the image that each one of the image with its borders shows, int64."""
    return np.pad(np.arange(side, dtype=np.int64), border, mode="reflect")


cdef void fold(
    const double** taps, const double* kernel, int64_t half, int64_t n, double* out
) noexcept nogil:
    """The taps summed up, each times its value in the kernel."""
    # What mirrors each other is first added or taken off: in even parts of an image exactly to 0.
    cdef double sign = 1.0 if kernel[0] == kernel[2 * half] else -1.0
    cdef const double* before = taps[half]
    cdef const double* after
    cdef double weight = kernel[half]
    cdef int64_t k, i
    for i in range(n):
        out[i] = weight * before[i]
    for k in range(1, half % 5 + 1):
        weight, before, after = kernel[half + k], taps[half - k], taps[half + k]
        for i in range(n):
            out[i] += weight * (after[i] + sign * before[i])
    for k in range(half % 5 + 1, half + 1, 5):
        fold_five(taps + half, kernel + half + k, k, sign, n, out)


cdef inline void fold_five(
    const double** taps, const double* weight, int64_t k, double sign, int64_t n, double* out
) noexcept nogil:
    """Add the taps at `k` to `k + 4` from the middle, and those that mirror them, to `out`.

    Five at once, so that `out` is read and written less often.
    """
    cdef double w0 = weight[0]
    cdef double w1 = weight[1]
    cdef double w2 = weight[2]
    cdef double w3 = weight[3]
    cdef double w4 = weight[4]
    cdef const double* b0 = taps[-k]
    cdef const double* b1 = taps[-k - 1]
    cdef const double* b2 = taps[-k - 2]
    cdef const double* b3 = taps[-k - 3]
    cdef const double* b4 = taps[-k - 4]
    cdef const double* a0 = taps[k]
    cdef const double* a1 = taps[k + 1]
    cdef const double* a2 = taps[k + 2]
    cdef const double* a3 = taps[k + 3]
    cdef const double* a4 = taps[k + 4]
    cdef int64_t i
    for i in range(n):
        out[i] += (
            w0 * (a0[i] + sign * b0[i])
            + w1 * (a1[i] + sign * b1[i])
            + w2 * (a2[i] + sign * b2[i])
            + w3 * (a3[i] + sign * b3[i])
            + w4 * (a4[i] + sign * b4[i])
        )
