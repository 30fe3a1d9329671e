# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Counts behind the IBSI texture matrices, over the voxels of one region of interest.

All functions read one flat array of grey levels: 1, 2, ... inside the region, 0 outside, with a
border of zeros at least one voxel wide, so that no neighbour lies outside the array. `voxels` are the
flat indices of the region, `offsets` the flat steps to neighbours.
"""

import numpy as np


def pair_counts(const int[::1] levels, const long long[::1] voxels, const long long[::1] offsets,
                int level_count):
    """How often level j follows level i at each offset, int64 (offsets, level_count, level_count)."""
    counts = np.zeros((offsets.shape[0], level_count, level_count), dtype=np.int64)
    cdef long long[:, :, ::1] out = counts
    cdef Py_ssize_t d, v
    cdef int here, there
    with nogil:
        for d in range(offsets.shape[0]):
            for v in range(voxels.shape[0]):
                here = levels[voxels[v]]
                there = levels[voxels[v] + offsets[d]]
                if there > 0:
                    out[d, here - 1, there - 1] += 1
    return counts


def run_counts(const int[::1] levels, const long long[::1] voxels, const long long[::1] offsets,
               int level_count, int longest):
    """Runs of one level by length - 1 along each offset, int64 (offsets, level_count, longest)."""
    counts = np.zeros((offsets.shape[0], level_count, longest), dtype=np.int64)
    cdef long long[:, :, ::1] out = counts
    cdef Py_ssize_t d, v
    cdef long long at
    cdef int here, length
    with nogil:
        for d in range(offsets.shape[0]):
            for v in range(voxels.shape[0]):
                at = voxels[v]
                here = levels[at]
                if levels[at - offsets[d]] == here:
                    continue  # inside a run that was counted at its first voxel
                length = 0
                while levels[at] == here:
                    length += 1
                    at += offsets[d]
                out[d, here - 1, length - 1] += 1
    return counts


def zones(const int[::1] levels, const int[::1] distances, const long long[::1] voxels,
          const long long[::1] offsets):
    """Connected zones of one level: level, size and least distance of each, int64 (3, zones).

    `distances` is each voxel's distance to the border of the region, flat as `levels`.
    """
    table = np.zeros((3, voxels.shape[0]), dtype=np.int64)
    cdef long long[:, ::1] out = table
    cdef unsigned char[::1] seen = np.zeros(levels.shape[0], dtype=np.uint8)
    cdef long long[::1] stack = np.empty(max(voxels.shape[0], 1), dtype=np.int64)
    cdef Py_ssize_t v, d, zone = 0, top
    cdef long long at, neighbour, size
    cdef int here, nearest
    with nogil:
        for v in range(voxels.shape[0]):
            if seen[voxels[v]]:
                continue
            here = levels[voxels[v]]
            nearest = distances[voxels[v]]
            size = 0
            seen[voxels[v]] = 1
            stack[0] = voxels[v]
            top = 1
            while top > 0:
                top -= 1
                at = stack[top]
                size += 1
                nearest = min(nearest, distances[at])
                for d in range(offsets.shape[0]):
                    neighbour = at + offsets[d]
                    if levels[neighbour] == here and not seen[neighbour]:
                        seen[neighbour] = 1
                        stack[top] = neighbour
                        top += 1
            out[0, zone] = here
            out[1, zone] = size
            out[2, zone] = nearest
            zone += 1
    return table[:, :zone]


def neighbourhoods(const int[::1] levels, const long long[::1] voxels,
                   const long long[::1] offsets, int level_count):
    """What NGTDM and NGLDM count over each voxel's neighbours in the region.

    Returns:
        Number of voxels with a neighbour, by level, int64 (level_count,); sum over them of the
        distance between level and mean level of the neighbours, float64 (level_count,); voxels by
        level and number of neighbours of the same level, int64 (level_count, offsets + 1).
    """
    present = np.zeros(level_count, dtype=np.int64)
    difference = np.zeros(level_count, dtype=np.float64)
    dependence = np.zeros((level_count, offsets.shape[0] + 1), dtype=np.int64)
    cdef long long[::1] present_out = present
    cdef double[::1] difference_out = difference
    cdef long long[:, ::1] dependence_out = dependence
    cdef Py_ssize_t v, d
    cdef int here, there, count, same
    cdef long long total
    cdef double distance
    with nogil:
        for v in range(voxels.shape[0]):
            here = levels[voxels[v]]
            count = 0
            same = 0
            total = 0
            for d in range(offsets.shape[0]):
                there = levels[voxels[v] + offsets[d]]
                if there > 0:
                    count += 1
                    total += there
                    if there == here:
                        same += 1
            dependence_out[here - 1, same] += 1
            if count > 0:
                distance = here - <double>total / count
                present_out[here - 1] += 1
                difference_out[here - 1] += distance if distance >= 0 else -distance
    return present, difference, dependence
