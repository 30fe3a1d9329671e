# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Pieces of a mask whose pixels are joined over edges, for `hovernet_post`.

A mask is read once, as runs (a run is a stretch of one value in one row); runs that touch are
joined.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memset

cdef struct Run:
    int32_t row
    int32_t start
    int32_t stop  # exclusive
    int32_t parent  # an earlier run of the same piece; itself for the piece's first


def label_components(const uint8_t[:, ::1] mask, int64_t min_area_px):
    """The pieces of a mask in the order of their first pixels, int32 (H, W), 0 where there is none.

    Pieces of fewer than `min_area_px` pixels are left out, their numbers unused.

    Args:
        mask: 0 and 1, of at least one pixel.
        min_area_px: pixels.
    """
    labels = np.zeros((mask.shape[0], mask.shape[1]), dtype=np.int32)
    cdef int32_t[:, ::1] label_at = labels
    cdef Run* runs = room_for_runs(mask)
    cdef int64_t n_runs, i, column
    cdef int32_t first
    cdef int32_t n_labels = 0
    cdef int32_t[::1] area
    try:
        with nogil:
            n_runs = join_runs(mask, 1, runs)
        area = np.zeros(n_runs, dtype=np.int32)
        with nogil:
            for i in range(n_runs):
                area[root(runs, <int32_t>i)] += runs[i].stop - runs[i].start
            for i in range(n_runs):
                first = root(runs, <int32_t>i)
                if first == i:  # its area has served: from here on, its label is in that place
                    n_labels += 1
                    area[i] = n_labels if area[i] >= min_area_px else 0
                if area[first]:
                    for column in range(runs[i].start, runs[i].stop):
                        label_at[runs[i].row, column] = area[first]
    finally:
        free(runs)
    return labels


def fill_holes(uint8_t[:, ::1] mask):
    """Set to 1, in place, what of the mask's zeros does not reach its border over edges."""
    cdef int64_t last_row = mask.shape[0] - 1
    cdef int64_t width = mask.shape[1]
    cdef Run* runs = room_for_runs(mask)
    cdef int64_t n_runs, i
    cdef uint8_t[::1] is_open
    try:
        with nogil:
            n_runs = join_runs(mask, 0, runs)
        is_open = np.zeros(n_runs, dtype=np.uint8)
        with nogil:
            for i in range(n_runs):
                if (
                    runs[i].row == 0 or runs[i].row == last_row
                    or runs[i].start == 0 or runs[i].stop == width
                ):
                    is_open[root(runs, <int32_t>i)] = 1
            for i in range(n_runs):
                if not is_open[root(runs, <int32_t>i)]:
                    memset(&mask[runs[i].row, runs[i].start], 1, runs[i].stop - runs[i].start)
    finally:
        free(runs)


cdef Run* room_for_runs(const uint8_t[:, ::1] mask) except NULL:
    """Memory for as many runs as a mask of this size can have."""
    cdef Run* runs = <Run*>malloc(mask.shape[0] * (mask.shape[1] // 2 + 1) * sizeof(Run))
    if runs == NULL:
        raise MemoryError
    return runs


cdef int64_t join_runs(const uint8_t[:, ::1] mask, uint8_t value, Run* runs) noexcept nogil:
    """Write the runs of `value`, row by row, those of a piece joined; how many there are."""
    cdef int64_t n = 0
    cdef int64_t line_start = 0  # the first run of this row
    cdef int64_t row, above
    cdef const uint8_t* line
    cdef const uint8_t* end
    cdef const uint8_t* start
    cdef const uint8_t* stop
    for row in range(mask.shape[0]):
        line = &mask[row, 0]
        end = line + mask.shape[1]
        above = line_start
        line_start = n
        start = <const uint8_t*>memchr(line, value, end - line)
        while start != NULL:
            stop = <const uint8_t*>memchr(start, 1 - value, end - start)
            if stop == NULL:
                stop = end
            runs[n].row = <int32_t>row
            runs[n].start = <int32_t>(start - line)
            runs[n].stop = <int32_t>(stop - line)
            runs[n].parent = <int32_t>n
            while above < line_start and runs[above].stop <= runs[n].start:
                above += 1
            while above < line_start and runs[above].start < runs[n].stop:
                join(runs, <int32_t>above, <int32_t>n)
                if runs[above].stop > runs[n].stop:
                    break  # the next run of this row may touch it as well
                above += 1
            n += 1
            start = <const uint8_t*>memchr(stop, value, end - stop)
    return n


cdef inline void join(Run* runs, int32_t a, int32_t b) noexcept nogil:
    a = root(runs, a)
    b = root(runs, b)
    if a < b:
        runs[b].parent = a
    else:
        runs[a].parent = b


cdef inline int32_t root(Run* runs, int32_t i) noexcept nogil:
    """The first run of a run's piece, once all runs are joined."""
    while runs[i].parent != i:
        runs[i].parent = runs[runs[i].parent].parent
        i = runs[i].parent
    return i
