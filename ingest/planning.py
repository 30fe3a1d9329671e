"""The plan of all that a user names: each path goes to the planner of its source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tumorbase.ingest.case_plan import plan_cases
from tumorbase.ingest.cohort import plan_cohort
from tumorbase.ingest.guess import guess_sources
from tumorbase.ingest.item import Context, Item, Plan, Rejected
from tumorbase.ingest.patient_names import patient_of_file
from tumorbase.ingest.readers import PLANNERS, planner_of
from tumorbase.models.encoders import encoder_level

SOURCES = tuple(PLANNERS)
_NAMED_BY_PATIENT = ("slides", "nuclei", "features")  # whose planners ask for a file's patient


def plan(paths: Sequence[Path], source: str | None, context: Context) -> tuple[Plan, Context]:
    """Items and refusals of all `paths`, and the context with the patients that cohorts name.

    Args:
        paths: existing files or folders.
        source: one of `SOURCES`; None to guess it of each path.
        context: of the run.
    """
    items: list[Item] = []
    rejected: list[Rejected] = []
    for path in paths:
        sources = {source: [path]} if source else guess_sources(path)
        if not sources:
            reason = f"cannot tell what this is; say so with --source ({', '.join(SOURCES)})"
            rejected.append(Rejected(str(path), reason))
        for name, found in sources.items():
            planned, context = _plan_source(name, found, context)
            items.extend(planned.items)
            rejected.extend(planned.rejected)
    if any(encoder_level(name) == "series" for name in context.encoders):
        items += plan_cases(items)
    return Plan(tuple(items), tuple(rejected)), context


def _plan_source(source: str, paths: list[Path], context: Context) -> tuple[Plan, Context]:
    if source == "cohort":
        items: list[Item] = []
        rejected: list[Rejected] = []
        for path in paths:
            planned, context = plan_cohort(path, context)
            items.extend(planned.items)
            rejected.extend(planned.rejected)
        return Plan(tuple(items), tuple(rejected)), context
    planner = planner_of(source)
    if source in _NAMED_BY_PATIENT:
        known = context.known_patients or frozenset()
        return planner(paths, lambda name: patient_of_file(name, known)), context
    return planner(paths), context
