# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Sums of features under the nuclei of a label map, for `nucleus_pooling`."""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t

cdef union Word:
    uint32_t bits
    float value


def sum_cells(
    const uint16_t[:, :, ::1] cells, const int32_t[:, ::1] labels, int64_t cell_px, int64_t stop
):
    """Over the pixels of each nucleus the sum of their cells, float32 (stop, channels), and how
    many pixels there are, int64 (stop,).

    Args:
        cells: finite numbers in half precision, as their bits, (h, w, channels).
        labels: from 0, background, to `stop` - 1, (H, W); its pixels are in those cells.
        cell_px: pixels a side of a cell.
        stop: past the highest label.
    """
    sums = np.zeros((stop, cells.shape[2]), dtype=np.float32)
    counts = np.zeros(stop, dtype=np.int64)
    cdef float[:, ::1] sum_of = sums
    cdef int64_t[::1] count_of = counts
    cdef int64_t channels = cells.shape[2]
    cdef int64_t row, column, cell
    cdef int32_t label
    cdef int64_t n  # pixels in a stretch of one nucleus in one cell
    with nogil:
        for row in range(labels.shape[0]):
            column = 0
            while column < labels.shape[1]:
                label = labels[row, column]
                if label == 0:
                    column += 1
                    continue
                cell = column // cell_px
                n = 0
                while (
                    column < labels.shape[1] and labels[row, column] == label
                    and column // cell_px == cell
                ):
                    n += 1
                    column += 1
                count_of[label] += n
                add(&cells[row // cell_px, cell, 0], <float>n, channels, &sum_of[label, 0])
    return sums, counts


cdef inline void add(const uint16_t* half, float weight, int64_t n, float* total) noexcept nogil:
    """Add numbers in half precision, each times `weight`."""
    cdef int64_t i
    cdef Word word
    # A half's exponent and digits, taken for a float's, stand for its value times 2^-112.
    cdef float scale = weight * <float>5.192296858534828e33
    for i in range(n):
        word.bits = (<uint32_t>half[i] & 0x7FFF) << 13 | (<uint32_t>half[i] & 0x8000) << 16
        total[i] += word.value * scale
