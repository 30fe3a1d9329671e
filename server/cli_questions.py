"""The commands that ask: similar, track, train, score, diagnose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorbase.server.cli_access import FILE, FOLDER, Access, access_options, as_json_option
from tumorbase.server.cli_weights import device_option, weights_option
from tumorbase.server.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tumorbase.query.answers import Hit, PatientTracks, Receipt, SimilarQuestion
    from tumorbase.server.client import Client
    from tumorbase.server.local import LocalClient

LEVELS = (
    "lesion",
    "patch",
    "nucleus",
    "slide",
    "patient",
    "region",
    "profile",
    "series",
    "case",
)

snapshot_option = click.option("--snapshot", default="", help="Ask the store as it was then.")


@click.command()
@click.argument("id", required=False, default="")
@click.option("--image", type=FILE, help="Ask for what is in this image.")
@click.option("--mask", type=FILE, help="Where the lesion is in the image.")
@click.option("--mpp", type=float, help="Micrometres per pixel of the image, if it states none.")
@weights_option
@device_option
@click.option("--vector", type=FILE, help="Ask by a vector, a .npy file of shape (dim,).")
@click.option("--text", default="", help="Ask by words, where the encoder knows any.")
@click.option("--level", type=click.Choice(LEVELS), required=True)
@click.option("-k", "limit", default=10, show_default=True, help="How many neighbours.")
@click.option("--encoder", default="", help="Name or id; else the level's default.")
@click.option("--where", default="", help="Predicate over the level's columns.")
@click.option("--same-patient", is_flag=True, help="Let the query's own patient in.")
@click.option("--exact", is_flag=True, help="Search all, even where there is an index.")
@snapshot_option
@access_options()
@as_json_option
def similar(
    *,
    access: Access,
    id: str,
    image: Path | None,
    mask: Path | None,
    mpp: float | None,
    weights_folder: Path | None,
    device: str,
    vector: Path | None,
    text: str,
    level: str,
    limit: int,
    encoder: str,
    where: str,
    same_patient: bool,
    exact: bool,
    snapshot: str,
    as_json: bool,
) -> None:
    """Find what is most similar to ID, an image, a vector or a text."""
    if sum(map(bool, (id, image, vector, text))) != 1:
        raise click.UsageError("give exactly one of ID, --image, --vector and --text")
    if image is None and (mask or mpp):
        raise click.UsageError("--mask and --mpp belong to --image")
    if text and weights_folder and access.server:
        raise click.UsageError("--text is embedded by the server: give it $TUMORBASE_WEIGHTS")
    from tumorbase.query.answers import SimilarQuestion
    from tumorbase.server.documents import similar_document

    with access.open(weights_folder) as client:
        question = SimilarQuestion(
            level=level,
            id=id,
            text=text,
            limit=limit,
            encoder=encoder,
            where=where,
            same_patient=same_patient,
            exact=exact,
            commit=commit_of(client, snapshot),
        )
        if image:
            from tumorbase.ingest.image_query import ImageQuestion
            from tumorbase.server.image_question import by_image

            asked = ImageQuestion(image, level, mask=mask, mpp=mpp)
            question = by_image(client, question, asked, device, weights_folder)
        if vector:
            question = _by_vector(question, vector)
        found = client.similar(question)
    if as_json:
        print_json(similar_document(found))
        return
    _print_hits(found.hits)
    _print_receipt(found.receipt)


@click.command()
@click.argument("patients", metavar="[PATIENT]...", nargs=-1)
@snapshot_option
@access_options()
@as_json_option
def track(access: Access, patients: tuple[str, ...], snapshot: str, as_json: bool) -> None:
    """Follow lesions over studies, with RECIST 1.1 sums.

    Without a PATIENT, of all patients.
    """
    from tumorbase.server.documents import tracks_document

    with access.open() as client:
        found = client.track(patients, commit_of(client, snapshot))
    if as_json:
        print_json(tracks_document(found))
        return
    print_table(
        ["patient_id", "track_id", "status", "region", "lesions", "long_axis_mm"],
        [row for patient in found for row in _track_rows(patient)],
    )
    print_table(
        ["patient_id", "study_id", "study_date", "sum_mm", "response", "new_lesions"],
        [
            [p.patient_id, s.study_id, s.study_date or "-", s.sum_mm, s.response, s.new_lesions]
            for p in found
            for s in p.sums
        ],
    )


@click.group()
def train() -> None:
    """Train a model and keep it in the store."""


@train.command()
@click.option("--endpoint", required=True, help="Of the outcomes, such as OS.")
@click.option(
    "--architecture",
    required=True,
    help="Of the model: cox, snn, mcat, motcat, pathgen, amil, clam, transmil, porpoise, hfbsurv.",
)
@click.option("--name", required=True, help="Under which the model is kept.")
@click.option("--folds", type=FOLDER, help="Folder of splits_K.csv with columns train and val.")
@click.option("--seed", default=0, show_default=True)
@access_options()
@as_json_option
def survival(
    *,
    access: Access,
    endpoint: str,
    architecture: str,
    name: str,
    folds: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train a survival model on all that the store knows of its patients."""
    from tumorbase.query.answers import TrainingQuestion
    from tumorbase.server.documents import trained_document
    from tumorbase.server.folds import read_folds

    parts = read_folds(folds) if folds else ()
    with access.open() as client:
        question = TrainingQuestion(endpoint, architecture, name, parts, seed)
        trained = client.train_survival(question)
    if as_json:
        print_json(trained_document(trained))
        return
    index = trained.c_index
    print_table(
        ["model", "patients", "events", "features", "c_index", "sd", "folds", "seconds"],
        [
            [
                trained.model,
                trained.patients,
                trained.events,
                trained.features,
                index.mean,
                index.sd,
                index.folds,
                trained.seconds,
            ]
        ],
    )
    _print_receipt(trained.receipt)


@click.command()
@click.argument("patients", metavar="PATIENT...", nargs=-1, required=True)
@click.option("--model", required=True, help="Name of a trained model.")
@snapshot_option
@access_options()
@as_json_option
def score(
    access: Access, patients: tuple[str, ...], model: str, snapshot: str, as_json: bool
) -> None:
    """Score patients by a survival model.

    The higher the risk, the sooner the event.
    """
    from tumorbase.server.documents import scored_document

    with access.open() as client:
        scored = client.score(model, patients, commit_of(client, snapshot))
    if as_json:
        print_json(scored_document(scored))
        return
    print_table(
        ["patient_id", "risk", "percentile", "modalities"],
        [[s.patient_id, s.risk, s.percentile, s.modalities] for s in scored.scores],
    )
    _print_receipt(scored.receipt)


@click.command()
@click.argument("patient")
@click.option(
    "--encoder",
    default="",
    help="A network that diagnoses: radnet; else the most similar patients.",
)
@weights_option
@snapshot_option
@access_options()
@as_json_option
def diagnose(
    *,
    access: Access,
    patient: str,
    encoder: str,
    weights_folder: Path | None,
    snapshot: str,
    as_json: bool,
) -> None:
    """Propose ICD-10-CM codes by the most similar patients, or disorders by a network."""
    if weights_folder and access.server:
        raise click.UsageError("the network is the server's: give it $TUMORBASE_WEIGHTS")
    from tumorbase.server.documents import diagnosed_document

    with access.open(weights_folder) as client:
        found = client.diagnose(patient, commit_of(client, snapshot), encoder)
    if as_json:
        print_json(diagnosed_document(found))
        return
    print_table(
        ["icd10cm", "name", "probability", "supporting_patients"],
        [[d.icd10cm, d.name, d.probability, d.supporting_patients] for d in found.diagnoses],
    )
    _print_receipt(found.receipt)


def commit_of(client: Client | LocalClient, snapshot: str) -> int:
    """The commit that has this name; 0, the newest, for no name.

    Raises:
        NotFound: there is no such snapshot.
    """
    if not snapshot:
        return 0
    named = client.snapshots()
    if snapshot not in named:
        from tumorbase.store.errors import NotFound

        raise NotFound("snapshot", snapshot)
    return named[snapshot]


def _by_vector(question: SimilarQuestion, file: Path) -> SimilarQuestion:
    from dataclasses import replace

    from tumorbase.server.vector_file import read_vector

    return replace(question, vector=tuple(read_vector(file).tolist()))


def _print_hits(hits: Sequence[Hit]) -> None:
    fixed = ["id", "patient_id", "distance"]
    if any(hit.contributions for hit in hits):
        fixed.append("contributions")
    columns = sorted({name for hit in hits for name in hit.details} - set(fixed))
    rows = [
        [
            *(hit.id, hit.patient_id, hit.distance, _contributions(hit))[: len(fixed)],
            *(hit.details.get(name) for name in columns),
        ]
        for hit in hits
    ]
    print_table([*fixed, *columns], rows, always=len(fixed))


def _contributions(hit: Hit) -> str:
    """Each modality's distance."""
    return ", ".join(f"{part.modality} {part.distance:.2f}" for part in hit.contributions)


def _track_rows(patient: PatientTracks) -> list[list[object]]:
    return [
        [
            patient.patient_id,
            track.track_id,
            track.status,
            track.region,
            len(track.lesions),
            tuple(lesion.long_axis_mm for lesion in track.lesions),
        ]
        for track in patient.tracks
    ]


def _print_receipt(receipt: Receipt) -> None:
    parts = [f"commit {receipt.commit}"]
    if receipt.encoder:
        parts.append(f"encoder {receipt.encoder}, {'exact' if receipt.is_exact else 'by index'}")
    if receipt.rows_searched:
        parts.append(f"{receipt.rows_searched} rows searched")
    print_note("; ".join([*parts, *receipt.notes]))
