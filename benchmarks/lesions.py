"""Real CTs from files to committed lesions: where the seconds go, and the share of commits.

    python benchmarks/lesions.py

All studies are ingested in one run with the default encoders, by one process. Every repeat has a
new store, in which another study, not counted, has created the tables. "resample" is everything
between voxels and encoder: contours filled, components found and measured, lesions cut out.
"other" is planning, hashing files and the record of the run. The peer is the encoding alone, on
lesions already cut out.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.store.store import Store

STUDIES = (
    "sts/STS_001/CT_image.nii.gz",
    "sts/STS_002/CT_image.nii.gz",
    "sts/STS_002/dicom_CT",
    "sts/STS_003/CT_image.nii.gz",
    "sts/STS_019/CT_image.nii.gz",
    "ibsi_ct_phantom/phantom.nii.gz",
)
FIRST = "sts/STS_002/PET_image.nii.gz"
STAGES = ("read", "resample", "encode", "commit")
REPEATS = 5


def main() -> None:
    """Print the seconds of each stage, median over the repeats, and their shares."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("TUMORBASE_SHARED", default)) / "data" / "ct"
    runs = [_one_store(folder) for _ in range(REPEATS)]
    spent = {stage: statistics.median(run.timings[stage] for run in runs) for stage in STAGES}
    seconds = statistics.median(run.seconds for run in runs)
    spent["other"] = seconds - sum(spent.values())
    print(f"{len(STUDIES)} studies, {runs[0].added['lesions']} lesions: {seconds:.3f} s")
    for stage, value in spent.items():
        print(f"{stage:10s} {value:7.3f} s  {value / seconds:6.1%}")
    print(f"encoding alone / end to end: {spent['encode'] / seconds:.2f}")


def _one_store(folder: Path) -> IngestSummary:
    options = IngestOptions(workers=1)
    with tempfile.TemporaryDirectory() as name, Store.create(Path(name) / "store") as store:
        ingest(store, [folder / FIRST], options)
        return ingest(store, [folder / path for path in STUDIES], options)


if __name__ == "__main__":
    main()
