"""Real CTs from files to committed lesions: seconds to read, resample, encode and commit.

    python benchmarks/lesions.py [--shared DIR] [--repeats N]

Each study is ingested with the default encoders by the process that owns the store, one run a
study. Every repeat has a new store, in which a first study, not counted, creates the tables; the
median over the repeats is printed. "resample" is everything between voxels and encoder: contours
filled, components found and measured, lesions cut out. "other" is planning, hashing files and the
record of the run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, ingest
from tumorbase.store.store import Store

STUDIES = {
    "STS_001": "sts/STS_001/CT_image.nii.gz",
    "STS_002": "sts/STS_002/CT_image.nii.gz",
    "STS_002 DICOM": "sts/STS_002/dicom_CT",
    "STS_003": "sts/STS_003/CT_image.nii.gz",
    "STS_019": "sts/STS_019/CT_image.nii.gz",
    "IBSI phantom": "ibsi_ct_phantom/phantom.nii.gz",
}
FIRST = "sts/STS_002/PET_image.nii.gz"
STAGES = ("read", "resample", "encode", "commit")


def main() -> None:
    """Prints the table, and each stage's share of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=default)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    folder = arguments.shared / "data" / "ct"
    runs = [one_store(folder) for _ in range(arguments.repeats)]
    totals = dict.fromkeys((*STAGES, "other"), 0.0)
    print(f"{'study':14s} lesions  " + "  ".join(f"{stage:>8s}" for stage in totals) + "  seconds")
    for name in STUDIES:
        of_study = [run[name] for run in runs]
        spent = {stage: statistics.median(r.timings[stage] for r in of_study) for stage in STAGES}
        seconds = statistics.median(run.seconds for run in of_study)
        spent["other"] = seconds - sum(spent.values())
        for stage, value in spent.items():
            totals[stage] += value
        stages = "  ".join(f"{value:8.4f}" for value in spent.values())
        print(f"{name:14s} {of_study[0].added['lesions']:7d}  {stages}  {seconds:7.4f}")
    everything = sum(totals.values())
    shares = "  ".join(f"{value / everything:8.1%}" for value in totals.values())
    print(f"{'share':14s} {'':7s}  {shares}  {everything:7.4f}")


def one_store(folder: Path) -> dict[str, IngestSummary]:
    """Ingests `FIRST` and then each study into a new store; what each run did, by study."""
    options = IngestOptions(workers=1)
    with tempfile.TemporaryDirectory() as name, Store.create(Path(name) / "store") as store:
        ingest(store, [folder / FIRST], options)
        return {study: ingest(store, [folder / path], options) for study, path in STUDIES.items()}


if __name__ == "__main__":
    main()
