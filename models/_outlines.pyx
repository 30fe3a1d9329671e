# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Outer borders of nuclei, followed pixel by pixel, for `nucleus_outlines`.

Suzuki & Abe, Computer Vision, Graphics, and Image Processing 30 (1985), 32-46, algorithm 1, in the
order of points and with the shortening of OpenCV's CHAIN_APPROX_SIMPLE.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t

# The neighbours of a pixel counter-clockwise, from the right; y grows downwards.
cdef int32_t[8] STEP_X = [1, 1, 0, -1, -1, -1, 0, 1]
cdef int32_t[8] STEP_Y = [0, -1, -1, -1, 0, 1, 1, 1]

cdef enum:
    LEFT = 4


def trace(
    const int32_t[:, ::1] labels, const int32_t[::1] label, const int32_t[::1] x, const int32_t[::1] y
):
    """Corners of the borders that begin at (x, y), one nucleus after the other.

    Args:
        labels: of at least one pixel.
        label: of each nucleus, (n,).
        x: column of each one's first pixel, row by row.
        y: row of it.

    Returns:
        Corners as (x, y), int32 (sum of lengths, 2), and how many each nucleus has, int64 (n,).
    """
    lengths = np.empty(label.shape[0], dtype=np.int64)
    cdef int64_t[::1] length = lengths
    cdef int64_t total = 0
    cdef int64_t i
    with nogil:
        for i in range(label.shape[0]):
            length[i] = follow(labels, label[i], x[i], y[i], NULL)
            total += length[i]
    points = np.empty((total, 2), dtype=np.int32)
    cdef int32_t[:, ::1] point = points
    total = 0
    with nogil:
        for i in range(label.shape[0]):
            total += follow(labels, label[i], x[i], y[i], &point[total, 0])
    return points, lengths


cdef int64_t follow(
    const int32_t[:, ::1] labels, int32_t label, int32_t x0, int32_t y0, int32_t* points
) noexcept nogil:
    """How many corners a border has; they are written where `points` is not NULL."""
    cdef int32_t came  # the way back to the pixel before
    cdef int32_t way, heading
    cdef int32_t x = x0
    cdef int32_t y = y0
    cdef int32_t last_x, last_y
    cdef int64_t n = 0
    way = (LEFT - 1) & 7
    while way != LEFT and not is_in(labels, label, x0 + STEP_X[way], y0 + STEP_Y[way]):
        way = (way - 1) & 7
    if way == LEFT:  # a single pixel
        return put(points, 0, x0, y0)
    last_x = x0 + STEP_X[way]  # of the border, from where it comes back to its first pixel
    last_y = y0 + STEP_Y[way]
    came = way
    heading = way ^ 4
    while True:
        way = (came + 1) & 7
        while not is_in(labels, label, x + STEP_X[way], y + STEP_Y[way]):
            way = (way + 1) & 7
        if way != heading:
            n = put(points, n, x, y)
            heading = way
        if x == last_x and y == last_y and x + STEP_X[way] == x0 and y + STEP_Y[way] == y0:
            return n
        x += STEP_X[way]
        y += STEP_Y[way]
        came = way ^ 4


cdef inline bint is_in(
    const int32_t[:, ::1] labels, int32_t label, int32_t x, int32_t y
) noexcept nogil:
    return (
        0 <= x < labels.shape[1] and 0 <= y < labels.shape[0] and labels[y, x] == label
    )


cdef inline int64_t put(int32_t* points, int64_t n, int32_t x, int32_t y) noexcept nogil:
    if points != NULL:
        points[2 * n] = x
        points[2 * n + 1] = y
    return n + 1
