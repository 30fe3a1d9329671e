# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""A watershed that parts pixels as scikit-image 0.26's does, for `hovernet_post`.

A pixel is reached from a neighbour, is numbered by its age and passed on at the lower of its own
height and its neighbour's; of those that wait, the highest goes on, of equals the oldest. Pixels of
markers are all of age 0: in what order equal ones go on is up to the heap's layout. Components are
therefore flooded one by one, from the few pixels at their markers' edges; where that order tells,
all are flooded once more from a heap like scikit-image's, in which every pixel of a marker is.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t

cdef enum:
    WALL = -1  # the label of what is not to be reached
    SEVERAL = -1  # of the markers of a component
    MAX_CHILDREN = 32  # of markers of one height, that are remembered
    STEPS = 1 << 28  # of which heights are multiples

cdef struct Pixel:
    int32_t depth  # steps from the top
    int32_t label  # 0 until it is reached

cdef struct Grid:
    Pixel* pixels  # with a ring of walls
    int64_t rows  # without it
    int64_t columns
    int64_t pitch

cdef struct Entry:
    int64_t key  # depth, then 32 bits of age
    int32_t pixel

cdef struct Queue:
    Entry* heap
    int64_t count
    int32_t* level  # pixels that go on at the depth reached, in the order of their ages
    int64_t level_first
    int64_t level_stop

cdef struct Child:
    int32_t pixel
    int32_t depth
    int32_t label


def flood(
    const double[:, ::1] height, const int32_t[:, ::1] markers, const int32_t[:, ::1] components
):
    """Each component parted among its markers, from the highest pixel down, int32 (H, W).

    A component without a marker is 0, and so is what lies outside of the components.

    Args:
        height: multiples of 2^-28 in [0, 1].
        markers: 0 none; what lies outside of the components does not count.
        components: the pieces that pixels joined over edges make up, from 1; 0 outside.
    """
    # Memory of numpy's is in huge pages, which are much quicker to get.
    cdef int64_t n_pixels = height.shape[0] * height.shape[1]
    cdef int64_t n_grid = (height.shape[0] + 2) * (height.shape[1] + 2)
    cdef int64_t[::1] pixels = np.empty(n_grid * sizeof(Pixel) // 8, dtype=np.int64)
    cdef int64_t[::1] heap = np.empty(n_pixels * sizeof(Entry) // 8, dtype=np.int64)
    cdef int32_t[::1] level = np.empty(n_pixels, dtype=np.int32)
    cdef Grid grid
    grid.pixels = <Pixel*>&pixels[0]
    grid.rows = height.shape[0]
    grid.columns = height.shape[1]
    grid.pitch = height.shape[1] + 2
    cdef Queue queue
    queue.heap = <Entry*>&heap[0]
    queue.level = &level[0]
    queue.count = queue.level_first = queue.level_stop = 0
    only = lay_out(grid, height, markers, components)
    cdef const int32_t[::1] seeds
    cdef const int64_t[::1] starts
    cdef bint is_parted
    seeds, starts = seeds_of_components(grid, components, only)
    with nogil:
        is_parted = flood_each(grid, &queue, seeds, starts)
    if not is_parted:
        lay_out(grid, height, markers, components)
        with nogil:
            push_markers(grid, &queue)
            spread(grid, &queue, True)
    return labels_of(grid, components, only)


cdef object lay_out(
    Grid grid,
    const double[:, ::1] height,
    const int32_t[:, ::1] markers,
    const int32_t[:, ::1] components,
):
    """Make the grid as it is before the flood.

    Returns:
        The one marker of each component, 0 for none and SEVERAL for more, int32 (n + 1,).
    """
    result = np.zeros(int(np.max(components)) + 1, dtype=np.int32)
    cdef int32_t[::1] only = result
    cdef Pixel wall
    wall.depth = 0
    wall.label = WALL
    cdef Pixel* pixel
    cdef int64_t row, column
    cdef int32_t component, marker
    with nogil:
        for column in range(grid.pitch):
            grid.pixels[column] = wall
            grid.pixels[(grid.rows + 1) * grid.pitch + column] = wall
        for row in range(grid.rows):
            pixel = grid.pixels + (row + 1) * grid.pitch
            pixel[0] = wall
            pixel[grid.columns + 1] = wall
            for column in range(grid.columns):
                pixel += 1
                component = components[row, column]
                if component == 0:
                    pixel[0] = wall
                    continue
                marker = markers[row, column]
                pixel.depth = <int32_t>((1.0 - height[row, column]) * STEPS)
                pixel.label = marker
                if marker and only[component] != marker:
                    only[component] = SEVERAL if only[component] else marker
    return result


cdef tuple seeds_of_components(
    Grid grid, const int32_t[:, ::1] components, const int32_t[::1] only
):
    """Pixels of markers beside pixels to be reached, grouped by component, int32 (n,), and where
    each component's begin, int64 (n_components + 1,).
    """
    counts = np.zeros(only.shape[0] + 1, dtype=np.int64)
    cdef int64_t[::1] count = counts  # of each component, in the place after its own
    cdef int32_t[::1] pixel = np.empty(grid.rows * grid.columns, dtype=np.int32)
    cdef int32_t[::1] owner = np.empty(grid.rows * grid.columns, dtype=np.int32)
    cdef int64_t n = 0
    cdef int64_t row, column, place
    cdef const Pixel* p
    with nogil:
        for row in range(grid.rows):
            for column in range(grid.columns):
                place = (row + 1) * grid.pitch + column + 1
                p = grid.pixels + place
                if p.label > 0 and only[components[row, column]] == SEVERAL and not (
                    (p - 1).label and (p + 1).label and (p - grid.pitch).label and (p + grid.pitch).label
                ):
                    pixel[n] = <int32_t>place
                    owner[n] = components[row, column]
                    count[owner[n] + 1] += 1
                    n += 1
    starts = np.cumsum(counts)
    cdef int64_t[::1] next_place = starts.copy()
    seeds = np.empty(n, dtype=np.int32)
    cdef int32_t[::1] seed = seeds
    cdef int64_t k
    with nogil:
        for k in range(n):
            seed[next_place[owner[k]]] = pixel[k]
            next_place[owner[k]] += 1
    return seeds, starts


cdef bint flood_each(
    Grid grid, Queue* queue, const int32_t[::1] seeds, const int64_t[::1] starts
) noexcept nogil:
    """Flood component by component; False once the order of equal markers tells."""
    cdef int64_t i, k
    for i in range(starts.shape[0] - 1):
        for k in range(starts[i], starts[i + 1]):
            push(queue, <int64_t>grid.pixels[seeds[k]].depth << 32, seeds[k])
        if not spread(grid, queue, False):
            queue.count = queue.level_first = queue.level_stop = 0
            return False
    return True


cdef void push_markers(Grid grid, Queue* queue) noexcept nogil:
    """Put every pixel of a marker into the heap, row by row."""
    cdef int64_t row, place
    for row in range(1, grid.rows + 1):
        for place in range(row * grid.pitch + 1, row * grid.pitch + 1 + grid.columns):
            if grid.pixels[place].label > 0:
                push(queue, <int64_t>grid.pixels[place].depth << 32, <int32_t>place)


cdef bint spread(Grid grid, Queue* queue, bint is_by_layout) noexcept nogil:
    """Flood from what is in the queue, until nothing is left to reach.

    With `is_by_layout` all that waits is in the heap, and its layout orders equal markers. Else
    pixels that go on at the depth just reached have a queue of their own, which is quicker.

    Returns:
        False where, without `is_by_layout`, equal markers of different labels reach the same pixel,
        or pixels that go on at the same depth: their order tells, and the flood is broken off.
    """
    cdef Child[MAX_CHILDREN] children  # of markers at the depth reached
    cdef int64_t n_children = 0
    cdef int64_t age = 0
    cdef int32_t reached = -1
    cdef int32_t depth, pixel, neighbour, label, k
    cdef int32_t[4] steps  # to above, left, right and below, in scikit-image's order
    cdef Entry entry
    cdef bint is_marker
    steps[0], steps[1], steps[2], steps[3] = -grid.pitch, -1, 1, grid.pitch
    while True:
        if queue.count and (
            queue.level_first == queue.level_stop or queue.heap[0].key >> 32 == reached
        ):
            entry = pop(queue)
            pixel = entry.pixel
            is_marker = <int32_t>entry.key == 0 and not is_by_layout
            if entry.key >> 32 != reached:
                reached = <int32_t>(entry.key >> 32)
                n_children = 0
                queue.level_first = queue.level_stop = 0
        elif queue.level_first < queue.level_stop:
            pixel = queue.level[queue.level_first]
            queue.level_first += 1
            is_marker = False
        else:
            return True
        label = grid.pixels[pixel].label
        for k in range(4):
            neighbour = pixel + steps[k]
            if grid.pixels[neighbour].label == WALL:
                continue
            if grid.pixels[neighbour].label:
                if is_marker and grid.pixels[neighbour].label != label and is_among(
                    neighbour, children, n_children
                ):
                    return False
                continue
            grid.pixels[neighbour].label = label
            age += 1
            depth = max(grid.pixels[neighbour].depth, reached)
            if depth == reached and not is_by_layout:
                queue.level[queue.level_stop] = neighbour
                queue.level_stop += 1
            else:
                push(queue, <int64_t>depth << 32 | age, neighbour)
            if is_marker:
                if n_children == MAX_CHILDREN or is_contested(depth, label, children, n_children):
                    return False
                children[n_children].pixel = neighbour
                children[n_children].depth = depth
                children[n_children].label = label
                n_children += 1


cdef bint is_among(int32_t pixel, const Child* children, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        if children[i].pixel == pixel:
            return True
    return False


cdef bint is_contested(
    int32_t depth, int32_t label, const Child* children, int64_t n
) noexcept nogil:
    """Whether a child of another label goes on at this depth."""
    cdef int64_t i
    for i in range(n):
        if children[i].depth == depth and children[i].label != label:
            return True
    return False


cdef inline void push(Queue* queue, int64_t key, int32_t pixel) noexcept nogil:
    cdef Entry* heap = queue.heap
    cdef int64_t place = queue.count
    cdef int64_t parent
    queue.count += 1
    while place > 0:
        parent = (place - 1) // 2
        if key >= heap[parent].key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place].key = key
    heap[place].pixel = pixel


cdef inline Entry pop(Queue* queue) noexcept nogil:
    """The entry of the lowest key; of equals, the one that scikit-image's heap gives."""
    cdef Entry* heap = queue.heap
    cdef Entry top = heap[0]
    cdef int64_t place = 0
    cdef int64_t child
    queue.count -= 1
    cdef Entry last = heap[queue.count]
    while True:
        child = 2 * place + 1
        if child >= queue.count:
            break
        if child + 1 < queue.count:
            child += heap[child + 1].key < heap[child].key
        if heap[child].key >= last.key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return top


cdef object labels_of(Grid grid, const int32_t[:, ::1] components, const int32_t[::1] only):
    """The labels, int32 (H, W); a component of one marker has that one's all over, walls have 0."""
    labels = np.empty((grid.rows, grid.columns), dtype=np.int32)
    cdef int32_t[:, ::1] label = labels
    cdef const Pixel* pixel
    cdef int64_t row, column
    with nogil:
        for row in range(grid.rows):
            pixel = grid.pixels + (row + 1) * grid.pitch
            for column in range(grid.columns):
                pixel += 1
                label[row, column] = max(pixel.label or only[components[row, column]], 0)
    return labels
