# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Counts and sums over the nuclei of a label map, for `nucleus_shape`.

The map is read once, as runs (a run is a stretch of one label in one row). All else is done nucleus
by nucleus on its runs, and on a small raster of its bounding box for the perimeter and the holes.
"""

import numpy as np

from libc.math cimport fma, sqrt
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport abs as c_abs
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

ctypedef fused label_t:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t

# The rows of `measure_runs`' second array.
SUMS = (
    "area", "row_min", "column_min", "row_stop", "column_stop", "row_mean", "column_mean",
    "row_variance", "column_variance", "covariance", "covariance_as_summed",
    "area_convex", "area_filled", "euler_number", "perimeter", "feret_squared",
)

cdef enum:
    EMPTY = 1 << 30  # the extent of a row without pixels
    PAD = 2  # of the raster: one ring of background, one that walls the flood in

cdef struct Run:
    int64_t label
    int32_t row
    int32_t start
    int32_t stop  # exclusive

cdef struct Box:
    int32_t top
    int32_t left
    int32_t height
    int32_t width

cdef struct Scratch:
    int32_t* left  # leftmost column of each row, from the box's left edge
    int32_t* right  # minus the rightmost column, so that both sides are minima
    int32_t* vertex_row  # of the left chain, then of the right one
    int32_t* parent  # union-find over runs
    int64_t* stack  # of the flood
    double* column_sum
    uint8_t* raster
    uint8_t* border

# Weight of a border pixel by 1 + 2 x (border pixels beside it) + 10 x (those at its corners):
# Benkrid & Crookes, "Design and FPGA Implementation of a Perimeter Estimator".
cdef double PERIMETER_WEIGHT[50]
memset(PERIMETER_WEIGHT, 0, sizeof(PERIMETER_WEIGHT))
for _code in (5, 7, 15, 17, 25, 27):
    PERIMETER_WEIGHT[_code] = 1.0
for _code in (21, 33):
    PERIMETER_WEIGHT[_code] = sqrt(2.0)
for _code in (13, 23):
    PERIMETER_WEIGHT[_code] = (1.0 + sqrt(2.0)) / 2.0


def measure_runs(const label_t[:, ::1] labels):
    """Ids of the nuclei in ascending order, int64 (n,), and their sums, float64 (len(SUMS), n).

    Raises:
        ValueError: a label is negative.
    """
    cdef Run* runs = NULL
    cdef Run* sorted_runs = NULL
    cdef int64_t n_runs = 0
    cdef int64_t lowest = 0
    cdef int64_t highest = 0
    try:
        with nogil:
            runs = scan(labels, &n_runs)
        if runs == NULL:
            raise MemoryError
        find_label_range(runs, n_runs, &lowest, &highest)
        if lowest < 0:
            raise ValueError(f"labels must be 0 (background) or positive, got {lowest}")
        ids = None
        if highest > 65536 + 16 * n_runs:  # too sparse for a table over all labels
            ids = replace_by_rank(runs, n_runs)
            highest = ids.size
        sorted_runs = <Run*>malloc((n_runs + 1) * sizeof(Run))
        if sorted_runs == NULL:
            raise MemoryError
        first, present = sort_by_label(runs, sorted_runs, n_runs, highest)
        sums = measure_all(sorted_runs, first)
        return (present if ids is None else ids), sums
    finally:
        free(runs)
        free(sorted_runs)


cdef Run* scan(const label_t[:, ::1] labels, int64_t* n_runs) noexcept nogil:
    """All runs of non-zero labels, row by row; NULL where memory does not suffice."""
    cdef int64_t rows = labels.shape[0]
    cdef int64_t columns = labels.shape[1]
    cdef int64_t capacity = columns + 16 * rows + 64
    cdef Run* runs = <Run*>malloc(capacity * sizeof(Run))
    cdef Run* grown
    cdef const label_t* pixels
    cdef label_t label
    cdef int64_t n = 0
    cdef int64_t row, column, start
    for row in range(rows):
        if runs == NULL:
            return NULL
        if n + columns > capacity:
            capacity = 2 * capacity + columns
            grown = <Run*>realloc(runs, capacity * sizeof(Run))
            if grown == NULL:
                free(runs)
                return NULL
            runs = grown
        if columns == 0:
            continue
        pixels = &labels[row, 0]
        column = 0
        while column < columns:
            label = pixels[column]
            if label == 0:
                column += 1
                continue
            start = column
            column += 1
            while column < columns and pixels[column] == label:
                column += 1
            runs[n].label = <int64_t>label
            runs[n].row = <int32_t>row
            runs[n].start = <int32_t>start
            runs[n].stop = <int32_t>column
            n += 1
    n_runs[0] = n
    return runs


cdef void find_label_range(
    Run* runs, int64_t n_runs, int64_t* lowest, int64_t* highest
) noexcept nogil:
    """The lowest label below zero, if any, and the highest."""
    cdef int64_t i
    for i in range(n_runs):
        lowest[0] = min(lowest[0], runs[i].label)
        highest[0] = max(highest[0], runs[i].label)


cdef object replace_by_rank(Run* runs, int64_t n_runs):
    """Replace each run's label by its rank from 1; the labels in ascending order, int64."""
    cdef int64_t i
    labels = np.empty(n_runs, dtype=np.int64)
    cdef int64_t[::1] label = labels
    for i in range(n_runs):
        label[i] = runs[i].label
    ids, ranks = np.unique(labels, return_inverse=True)
    label = ranks.astype(np.int64, copy=False)
    for i in range(n_runs):
        runs[i].label = label[i] + 1
    return ids


cdef tuple sort_by_label(Run* runs, Run* sorted_runs, int64_t n_runs, int64_t highest):
    """Copy the runs grouped by label, row order kept.

    Returns the first run of each nucleus and the number of runs at the end, int64 (n + 1,), and the
    labels there are, int64 (n,).
    """
    next_place = np.zeros(highest + 2, dtype=np.int64)
    cdef int64_t[::1] place = next_place
    cdef int64_t i, label
    for i in range(n_runs):
        place[runs[i].label + 1] += 1
    present = np.flatnonzero(next_place) - 1
    np.cumsum(next_place, out=next_place)
    first = np.append(next_place[present], n_runs)
    for i in range(n_runs):
        label = runs[i].label
        sorted_runs[place[label]] = runs[i]
        place[label] += 1
    return first, present


cdef object measure_all(Run* runs, int64_t[::1] first):
    """Sums of every nucleus, float64 (len(SUMS), n)."""
    cdef int64_t n = first.shape[0] - 1
    cdef int64_t i
    cdef int64_t height = 1
    cdef int64_t width = 1
    cdef int64_t raster = 1
    cdef int64_t most_runs = 1
    cdef Box box
    cdef Scratch scratch
    sums = np.empty((len(SUMS), n), dtype=np.float64)
    cdef double[:, ::1] out = sums
    for i in range(n):
        box = bounding_box(runs + first[i], first[i + 1] - first[i])
        height = max(height, box.height)
        width = max(width, box.width)
        raster = max(raster, <int64_t>(box.height + 2 * PAD) * (box.width + 2 * PAD))
        most_runs = max(most_runs, first[i + 1] - first[i])
    scratch.left = <int32_t*>malloc(height * sizeof(int32_t))
    scratch.right = <int32_t*>malloc(height * sizeof(int32_t))
    scratch.vertex_row = <int32_t*>malloc(2 * height * sizeof(int32_t))
    scratch.parent = <int32_t*>malloc(most_runs * sizeof(int32_t))
    scratch.stack = <int64_t*>malloc(raster * sizeof(int64_t))
    scratch.column_sum = <double*>malloc(width * sizeof(double))
    scratch.raster = <uint8_t*>malloc(raster)
    scratch.border = <uint8_t*>malloc(raster)
    try:
        if (
            scratch.left == NULL or scratch.right == NULL or scratch.vertex_row == NULL
            or scratch.parent == NULL or scratch.stack == NULL
            or scratch.column_sum == NULL or scratch.raster == NULL or scratch.border == NULL
        ):
            raise MemoryError
        with nogil:
            for i in range(n):
                measure_nucleus(runs + first[i], first[i + 1] - first[i], scratch, &out[0, i], n)
    finally:
        free(scratch.left)
        free(scratch.right)
        free(scratch.vertex_row)
        free(scratch.parent)
        free(scratch.stack)
        free(scratch.column_sum)
        free(scratch.raster)
        free(scratch.border)
    return sums


cdef void measure_nucleus(
    Run* runs, int64_t n, Scratch scratch, double* out, int64_t stride
) noexcept nogil:
    """Write the sums of one nucleus, in the order of SUMS, `stride` apart."""
    cdef Box box = bounding_box(runs, n)
    cdef int64_t holes, area
    cdef int64_t i
    area = 0
    for i in range(n):
        area += runs[i].stop - runs[i].start
    out[0] = <double>area
    out[stride] = box.top
    out[2 * stride] = box.left
    out[3 * stride] = box.top + box.height
    out[4 * stride] = box.left + box.width
    write_moments(runs, n, box, area, out + 5 * stride, stride)
    out[10 * stride] = out[9 * stride]
    if out[9 * stride] == 0:
        out[10 * stride] = covariance_as_summed(runs, n, box, area, scratch.column_sum)
    write_extents(runs, n, box, scratch)
    out[11 * stride] = <double>fill_convex(box.height, scratch)
    out[13 * stride] = <double>euler_number(runs, n, scratch.parent, &holes)
    draw(runs, n, box, scratch)
    out[12 * stride] = <double>(filled_area(box, scratch) if holes > 0 else area)
    out[14 * stride] = perimeter(runs, n, box, scratch)
    out[15 * stride] = <double>feret_squared(box.height, scratch)


cdef Box bounding_box(Run* runs, int64_t n) noexcept nogil:
    cdef Box box
    cdef int32_t left = runs[0].start
    cdef int32_t right = runs[0].stop
    cdef int64_t i
    for i in range(1, n):
        left = min(left, runs[i].start)
        right = max(right, runs[i].stop)
    box.top = runs[0].row
    box.left = left
    box.height = runs[n - 1].row + 1 - runs[0].row
    box.width = right - left
    return box


cdef void write_moments(
    Run* runs, int64_t n, Box box, int64_t area, double* out, int64_t stride
) noexcept nogil:
    """Mean row and column, their variances and covariance.

    Sums are whole numbers about the middle of the box, so that what is zero comes out as zero.
    """
    cdef int64_t row_0 = box.top + box.height // 2
    cdef int64_t column_0 = box.left + box.width // 2
    cdef int64_t sum_r = 0, sum_c = 0, sum_rr = 0, sum_cc = 0, sum_rc = 0
    cdef int64_t i, r, a, b, length, in_run
    for i in range(n):
        r = runs[i].row - row_0
        a = runs[i].start - column_0
        b = runs[i].stop - 1 - column_0
        length = b - a + 1
        in_run = (a + b) * length // 2
        sum_r += r * length
        sum_rr += r * r * length
        sum_c += in_run
        sum_rc += r * in_run
        # Sum of the squares of a..b: P(b) - P(a - 1), P(k) = k (k + 1) (2 k + 1) / 6.
        sum_cc += (b * (b + 1) * (2 * b + 1) - (a - 1) * a * (2 * a - 1)) // 6
    cdef double count = <double>area
    cdef double scale = 1.0 / (count * count)
    out[0] = row_0 + sum_r / count
    out[stride] = column_0 + sum_c / count
    out[2 * stride] = (count * sum_rr - <double>sum_r * sum_r) * scale
    out[3 * stride] = (count * sum_cc - <double>sum_c * sum_c) * scale
    out[4 * stride] = (count * sum_rc - <double>sum_r * sum_c) * scale


cdef double covariance_as_summed(
    Run* runs, int64_t n, Box box, int64_t area, double* column_sum
) noexcept nogil:
    """The covariance in floating point, summed down the columns and then over them.

    Where it is zero, the rounding of these sums decides in regionprops whether a wide nucleus lies
    at pi/2 or -pi/2, which are one axis. The same order (and fused products, as in BLAS) decides
    alike.
    """
    cdef int64_t i, c
    cdef int64_t sum_r = 0, sum_c = 0
    cdef double row_mean, column_mean
    cdef double total = 0.0
    memset(column_sum, 0, box.width * sizeof(double))
    for i in range(n):
        sum_r += (runs[i].row - box.top) * (runs[i].stop - runs[i].start)
        for c in range(runs[i].start - box.left, runs[i].stop - box.left):
            sum_c += c
    row_mean = <double>sum_r / area
    column_mean = <double>sum_c / area
    for i in range(n):
        for c in range(runs[i].start - box.left, runs[i].stop - box.left):
            column_sum[c] += (runs[i].row - box.top) - row_mean
    for c in range(box.width):
        total = fma(column_sum[c], c - column_mean, total)
    return total / area


cdef void write_extents(Run* runs, int64_t n, Box box, Scratch scratch) noexcept nogil:
    """Columns between which the pixels of each row lie."""
    cdef int64_t i, row
    for row in range(box.height):
        scratch.left[row] = EMPTY
        scratch.right[row] = EMPTY
    for i in range(n):
        row = runs[i].row - box.top
        scratch.left[row] = min(scratch.left[row], runs[i].start - box.left)
        scratch.right[row] = min(scratch.right[row], box.left + 1 - runs[i].stop)


cdef int64_t chain(int32_t* extent, int64_t height, int32_t* vertex_row) noexcept nogil:
    """Rows of the vertices of the hull's side (monotone chain); their number.

    `extent` is the least column of each row; rows that are EMPTY are left out.
    """
    cdef int64_t n = 0
    cdef int64_t row, row_0, row_1
    for row in range(height):
        if extent[row] == EMPTY:
            continue
        while n >= 2:
            row_0 = vertex_row[n - 2]
            row_1 = vertex_row[n - 1]
            if (<int64_t>(extent[row_1] - extent[row_0]) * (row - row_0)
                    < <int64_t>(extent[row] - extent[row_0]) * (row_1 - row_0)):
                break
            n -= 1
        vertex_row[n] = <int32_t>row
        n += 1
    return n


cdef void widen(int32_t* extent, int32_t* vertex_row, int64_t n_vertices) noexcept nogil:
    """Move the extents out to the hull's side.

    The hull is that of the middles of the pixels' edges: of the pixels' centres, grown by a diamond
    of half a pixel. Along a side from (row_0, x_0) of slope dx / dy its column at a row is
    x_0 + dx (row - row_0) / dy - max(|dx| / dy, 1) / 2; a pixel whose centre is in it counts.
    At the row of a vertex only a side flatter than 45 degrees that comes from further out moves it.
    """
    cdef int64_t i, row, row_0, row_1, begin, end, dx, dy, x_0, numerator
    cdef int64_t x_1 = extent[vertex_row[0]]
    cdef int32_t column
    for i in range(n_vertices - 1):
        row_0 = vertex_row[i]
        row_1 = vertex_row[i + 1]
        x_0 = x_1  # not extent[row_0], which the side before may have moved
        x_1 = extent[row_1]
        dy = row_1 - row_0
        dx = x_1 - x_0
        begin = row_0 if dx < -dy else row_0 + 1
        end = row_1 + 1 if dx > dy else row_1
        for row in range(begin, end):
            numerator = 2 * dx * (row - row_0) - max(dx, -dx, dy)
            column = <int32_t>(x_0 + ceil_divide(numerator, 2 * dy))
            extent[row] = min(extent[row], column)


cdef inline int64_t ceil_divide(int64_t a, int64_t b) noexcept nogil:
    """The least whole number not below a / b, for b > 0."""
    return (a + b - 1) // b if a > 0 else -(-a // b)


cdef int64_t fill_convex(int64_t height, Scratch scratch) noexcept nogil:
    """Pixels of the convex hull; the extents become those of the hull."""
    cdef int64_t row
    cdef int64_t area = height
    widen(scratch.left, scratch.vertex_row, chain(scratch.left, height, scratch.vertex_row))
    widen(scratch.right, scratch.vertex_row, chain(scratch.right, height, scratch.vertex_row))
    for row in range(height):
        area -= scratch.left[row] + scratch.right[row]
    return area


cdef int64_t feret_squared(int64_t height, Scratch scratch) noexcept nogil:
    """Squared largest distance between middles of pixel edges on the convex hull's outline.

    With v between two pixel centres, the farthest edges are |v|^2 + 2 max(|v_row|, |v_column|) + 1
    apart (squared), and the farthest centres are vertices.
    """
    cdef int32_t* vertex = scratch.vertex_row
    cdef int64_t n_left = chain(scratch.left, height, vertex)
    cdef int64_t n = n_left + chain(scratch.right, height, vertex + n_left)
    cdef int64_t best = 1
    cdef int64_t i, j, dr, dc, column
    for i in range(n):
        column = scratch.left[vertex[i]] if i < n_left else -scratch.right[vertex[i]]
        for j in range(i + 1, n):
            dr = c_abs(vertex[i] - vertex[j])
            dc = column - (scratch.left[vertex[j]] if j < n_left else -scratch.right[vertex[j]])
            dc = max(dc, -dc)
            best = max(best, dr * dr + dc * dc + 2 * max(dr, dc) + 1)
    return best


cdef int64_t euler_number(
    Run* runs, int64_t n, int32_t* parent, int64_t* holes
) noexcept nogil:
    """Components less holes, pixels joined over edges and corners: runs less their contacts.

    `holes` becomes the number of holes where pixels are joined over edges only: of the contacts of
    such runs those that close a circle.
    """
    cdef int64_t i, k
    cdef int64_t above = 0
    cdef int64_t contacts = 0
    cdef int32_t a, b
    holes[0] = 0
    for i in range(n):
        parent[i] = <int32_t>i
        while above < i and (
            runs[above].row < runs[i].row - 1
            or (runs[above].row == runs[i].row - 1 and runs[above].stop < runs[i].start)
        ):
            above += 1
        k = above
        while k < i and runs[k].row < runs[i].row and runs[k].start <= runs[i].stop:
            contacts += 1
            if runs[k].start < runs[i].stop and runs[k].stop > runs[i].start:
                a = root(parent, <int32_t>k)
                b = root(parent, <int32_t>i)
                holes[0] += a == b
                parent[b] = a
            k += 1
    return n - contacts


cdef inline int32_t root(int32_t* parent, int32_t i) noexcept nogil:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


cdef void draw(Run* runs, int64_t n, Box box, Scratch scratch) noexcept nogil:
    """The nucleus as 0 and 1 on the padded raster."""
    cdef int64_t pitch = box.width + 2 * PAD
    cdef int64_t i
    memset(scratch.raster, 0, pitch * (box.height + 2 * PAD))
    for i in range(n):
        memset(
            scratch.raster + (runs[i].row - box.top + PAD) * pitch + runs[i].start - box.left + PAD,
            1,
            runs[i].stop - runs[i].start,
        )


cdef double perimeter(Run* runs, int64_t n, Box box, Scratch scratch) noexcept nogil:
    """Length of the outline through the border pixels, those with background beside them."""
    cdef int64_t pitch = box.width + 2 * PAD
    cdef uint8_t* raster = scratch.raster
    cdef uint8_t* border = scratch.border
    cdef uint8_t* p
    cdef int64_t i, at, length, k
    cdef double total = 0.0
    memset(border, 0, pitch * (box.height + 2 * PAD))
    for i in range(n):
        at = (runs[i].row - box.top + PAD) * pitch + runs[i].start - box.left + PAD
        length = runs[i].stop - runs[i].start
        for k in range(at, at + length):
            border[k] = 1 - (raster[k - pitch] & raster[k + pitch] & 1)
        border[at] = 1
        border[at + length - 1] = 1
    for i in range(n):
        at = (runs[i].row - box.top + PAD) * pitch + runs[i].start - box.left + PAD
        for k in range(at, at + runs[i].stop - runs[i].start):
            if border[k]:
                p = border + k
                total += PERIMETER_WEIGHT[
                    1 + 2 * (p[-1] + p[1] + p[-pitch] + p[pitch])
                    + 10 * (p[-pitch - 1] + p[-pitch + 1] + p[pitch - 1] + p[pitch + 1])
                ]
    return total


cdef int64_t filled_area(Box box, Scratch scratch) noexcept nogil:
    """Pixels that the background does not reach from outside, over edges and corners.

    Leaves 2 on the raster where it does.
    """
    cdef int64_t rows = box.height + 2 * PAD
    cdef int64_t pitch = box.width + 2 * PAD
    cdef uint8_t* raster = scratch.raster
    cdef int64_t[8] steps
    cdef int64_t depth, reached, i, at
    memset(raster, 1, pitch)
    memset(raster + (rows - 1) * pitch, 1, pitch)
    for i in range(rows):
        raster[i * pitch] = 1
        raster[i * pitch + pitch - 1] = 1
    steps[0], steps[1], steps[2], steps[3] = -1, 1, -pitch, pitch
    steps[4], steps[5], steps[6], steps[7] = -pitch - 1, -pitch + 1, pitch - 1, pitch + 1
    scratch.stack[0] = pitch + 1
    raster[pitch + 1] = 2
    depth = 1
    reached = 1
    while depth > 0:
        depth -= 1
        at = scratch.stack[depth]
        for i in range(8):
            if raster[at + steps[i]] == 0:
                raster[at + steps[i]] = 2
                scratch.stack[depth] = at + steps[i]
                depth += 1
                reached += 1
    return (rows - 2) * (pitch - 2) - reached
