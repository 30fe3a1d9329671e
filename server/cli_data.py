"""The commands that bring data in and out: ingest, export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorbase.server.cli_access import FILE, Access, access_options, as_json_option
from tumorbase.server.cli_questions import LEVELS, commit_of, snapshot_option
from tumorbase.server.cli_weights import device_option, weights_option
from tumorbase.server.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from tumorbase.ingest.pipeline import IngestSummary

_KEY_VARIABLE = "TUMORBASE_PSEUDONYM_KEY"
_QUARANTINED_EXIT = 3


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--source", metavar="KIND", help="cohort, dicom, slides ...; else guessed.")
@click.option(
    "--encoder", "encoders", multiple=True, help="Instead of the built-in ones of its level."
)
@click.option("--workers", type=int, help="Reading processes; else one a core.")
@device_option
@weights_option
@click.option("--compile", "is_compiled", is_flag=True, help="Compile networks: pays on long runs.")
@click.option("--mpp", type=float, help="Micrometres per pixel of slides that state none.")
@click.option("--patch-mpp", default=0.5, show_default=True, help="At which patches are encoded.")
@click.option("--patch-px", default=256, show_default=True, help="Side of a patch, in pixels.")
@click.option(
    "--min-lesion-mm3", default=10.0, show_default=True, help="Smaller parts are no lesions."
)
@click.option("--pseudonymise", is_flag=True, help="Replace ids by keyed pseudonyms.")
@click.option(
    "--pseudonym-key",
    type=FILE,
    help=f"File with the key; else ${_KEY_VARIABLE}, else one is made beside the store.",
)
@click.option("--keep-identity", is_flag=True, help="Keep identifying DICOM attributes.")
@access_options()
@as_json_option
@click.pass_context
def ingest(
    context: click.Context,
    *,
    access: Access,
    paths: tuple[Path, ...],
    source: str | None,
    encoders: tuple[str, ...],
    workers: int | None,
    device: str,
    weights_folder: Path | None,
    is_compiled: bool,
    mpp: float | None,
    patch_mpp: float,
    patch_px: int,
    min_lesion_mm3: float,
    pseudonymise: bool,
    pseudonym_key: Path | None,
    keep_identity: bool,
    as_json: bool,
) -> None:
    """Bring files and folders into a store.

    The store is made if there is none.

    A second run changes nothing. What cannot be read is quarantined with its reason, and the rest
    goes on; the exit status is then 3. A server reads the paths on its own machine.
    """
    from tumorbase.ingest.pipeline import IngestOptions, refuse_unsound
    from tumorbase.server.documents import ingest_document
    from tumorbase.server.progress import show_progress

    options = IngestOptions(
        source=source,
        encoders=encoders,
        workers=workers,
        device=device,
        weights=str(weights_folder.absolute()) if weights_folder else None,
        is_compiled=is_compiled,
        mpp=mpp,
        patch_mpp=patch_mpp,
        patch_px=patch_px,
        min_lesion_mm3=min_lesion_mm3,
        keep_identity=keep_identity,
        pseudonym_key=_key(access, pseudonym_key) if pseudonymise or pseudonym_key else None,
    )
    absolute = [path.absolute() for path in paths]  # a server has another working directory
    if access.store:
        refuse_unsound(absolute, options)  # before a store is made for nothing
    with access.open_or_create() as client, show_progress() as show:
        summary = client.ingest(absolute, options, show)
    if as_json:
        print_json(ingest_document(summary))
    else:
        _print_summary(summary)
    context.exit(_QUARANTINED_EXIT if summary.quarantined else 0)


@click.command()
@click.option("--level", type=click.Choice(LEVELS), required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--as-of", default="", help="Only what was known then; a date means its end, UTC.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "arrow", "csv"]),
    help="Else by the suffix of --out, else parquet.",
)
@click.option("--encoder", default="", help="Name or id; else the level's default.")
@snapshot_option
@access_options()
@as_json_option
def export(
    *,
    access: Access,
    level: str,
    out: Path,
    as_of: str,
    file_format: str | None,
    encoder: str,
    snapshot: str,
    as_json: bool,
) -> None:
    """Write the features of a level to a file."""
    from tumorbase.server.as_of import parse_as_of
    from tumorbase.server.table_file import format_of, write_table_file

    time, chosen = parse_as_of(as_of), file_format or format_of(out)
    with access.open() as client:
        reader = client.export(level, time, commit_of(client, snapshot), encoder)
        rows = write_table_file(reader, out, chosen)
    if as_json:
        print_json({"level": level, "out": str(out), "format": chosen, "rows": rows})
    else:
        print_note(f"{rows} rows written to {out}")


def _key(access: Access, file: Path | None) -> bytes:
    """The key of the file, of the environment, or of the file beside the store, made if need be."""
    from tumorbase.ingest.pseudonyms import create_key, read_key

    if file:
        return read_key(file)
    if _KEY_VARIABLE in os.environ:
        return _checked(os.environ[_KEY_VARIABLE].strip().encode())
    if access.store is None:
        raise click.UsageError(
            f"with --server, --pseudonymise needs --pseudonym-key or ${_KEY_VARIABLE}"
        )
    beside = access.store.absolute().with_name(f"{access.store.absolute().name}.pseudonym-key")
    return read_key(beside) if beside.exists() else create_key(beside)


def _checked(key: bytes) -> bytes:
    from tumorbase.ingest.pseudonyms import MIN_KEY_BYTES
    from tumorbase.store.errors import InvalidRequest

    if len(key) < MIN_KEY_BYTES:
        raise InvalidRequest(
            f"${_KEY_VARIABLE}: expected at least {MIN_KEY_BYTES} bytes, got {len(key)}"
        )
    return key


def _print_summary(summary: IngestSummary) -> None:
    added = {name: count for name, count in summary.added.items() if count}
    if added:
        print_table(["added", "count"], sorted(added.items()))
    encoded = {encoder: count for encoder, count in summary.encoded.items() if count}
    if encoded:
        print_table(["encoder", "vectors"], sorted(encoded.items()))
    if summary.quarantined:
        print_table(["quarantined", "reason"], [[q.path, q.reason] for q in summary.quarantined])
    for encoder, count in summary.outdated.items():
        print_note(
            f"{count} inputs changed: their vectors by {encoder} were of what they were before and "
            "are gone; ingest with that --encoder makes them anew"
        )
    if summary.left_out:
        print_note(
            f"{summary.left_out} files of nuclei left out: no encoder of this run takes contours; "
            "name nucleus-shape as well"
        )
    print_note(
        f"{summary.committed} inputs committed, {summary.unchanged} unchanged, "
        f"{len(summary.quarantined)} quarantined, in {summary.seconds:.1f} s"
    )
