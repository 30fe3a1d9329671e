# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Coordinate descent for weighted least squares with an elastic-net penalty."""

from libc.math cimport fabs


cdef double sweep(
    const double[::1, :] x,
    const double[::1] weights,
    const double[::1] curvature,
    double[::1] residual,
    double[::1] coefficients,
    const long long[::1] active,
    double l1,
    double l2,
    bint only_nonzero,
) noexcept nogil:
    """One pass over the features; how much its largest step lowered the objective."""
    cdef Py_ssize_t n = x.shape[0]
    cdef Py_ssize_t i, k, j
    cdef double gradient, old, new, pull, step
    cdef double largest = 0.0
    for k in range(active.shape[0]):
        j = active[k]
        old = coefficients[j]
        if only_nonzero and old == 0.0:
            continue
        gradient = 0.0
        for i in range(n):
            gradient += weights[i] * x[i, j] * residual[i]
        pull = gradient / n + curvature[k] * old
        if fabs(pull) <= l1:
            new = 0.0
        elif pull > 0:
            new = (pull - l1) / (curvature[k] + l2)
        else:
            new = (pull + l1) / (curvature[k] + l2)
        step = new - old
        if step != 0.0:
            coefficients[j] = new
            for i in range(n):
                residual[i] -= step * x[i, j]
            largest = max(largest, (curvature[k] + l2) * step * step)
    return largest


def descend(
    const double[::1, :] x,
    const double[::1] weights,
    const double[::1] curvature,
    double[::1] residual,
    double[::1] coefficients,
    const long long[::1] active,
    double l1,
    double l2,
    double tolerance,
    int max_sweeps,
):
    """Minimise sum(weights * residual**2) / 2n + l1 |b|_1 + l2 / 2 |b|_2^2 over the active features.

    `residual` (n,) and `coefficients` (p,) are changed in place and stay consistent: the residual is
    the working response less x b. `curvature` is sum(weights * x**2) / n of each active feature. Full
    passes alternate with passes over the features that are not zero (Friedman et al. 2010, section
    2.6), until no step of a full pass lowers the objective by more than `tolerance`. Returns the
    number of passes.
    """
    cdef int done = 0
    with nogil:
        while done < max_sweeps:
            done += 1
            if sweep(x, weights, curvature, residual, coefficients, active, l1, l2, False) < tolerance:
                break
            while done < max_sweeps:
                done += 1
                if sweep(x, weights, curvature, residual, coefficients, active, l1, l2, True) < tolerance:
                    break
    return done
