"""The commands that look after a store: serve, status, check, snapshot, encoders, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tumorbase.server.cli_access import FILE, Access, access_options, as_json_option
from tumorbase.server.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from tumorbase.server.overview import EncoderOverview


@click.command()
@click.option("--store", type=click.Path(path_type=Path), envvar="TUMORBASE_STORE", required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port",
    default=50051,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0: any free one.",
)
@click.option("--tls-cert", type=FILE, help="Certificate chain, PEM.")
@click.option("--tls-key", type=FILE, help="Its key, PEM.")
@click.option("--tls-client-ca", type=FILE, help="Let in only who shows its certificate.")
@click.option("--token-file", type=FILE, help="Let in only who bears this token.")
@click.option("--insecure", "is_insecure", is_flag=True, help="Listen beyond loopback without TLS.")
def serve(**options: Any) -> None:
    """Serve a store over gRPC until told to stop.

    One line is printed when ready.
    """
    from tumorbase.server.config import ServerConfig
    from tumorbase.server.serve import serve as serve_until_stopped

    serve_until_stopped(ServerConfig(**options))


@click.command()
@access_options()
@as_json_option
def status(access: Access, as_json: bool) -> None:
    """Tell what the store holds."""
    from tumorbase.server.documents import status_document

    with access.open() as client:
        overview = client.status()
    if as_json:
        print_json(status_document(overview))
        return
    print_table(["what", "count"], sorted(overview.counts.items()))
    print_table(*_encoder_table(overview.encoders))
    if overview.snapshots:
        print_table(["snapshot", "commit"], _oldest_first(overview.snapshots))
    parts = [f"commit {overview.commit}", f"{overview.size_bytes / 2**20:.1f} MiB"]
    if overview.quarantined:
        parts.append(f"{overview.quarantined} quarantined")
    if overview.models:
        parts.append(f"models {', '.join(overview.models)}")
    print_note(f"{overview.path}: {', '.join(parts)}")


@click.command()
@click.option("--repair", is_flag=True, help="Put right what can be put right.")
@access_options()
@as_json_option
@click.pass_context
def check(context: click.Context, access: Access, repair: bool, as_json: bool) -> None:
    """Find what does not agree in the store.

    The exit status is 1 while anything does not.
    """
    from dataclasses import asdict

    with access.open() as client:
        report = client.check(repair)
    if as_json:
        print_json({**asdict(report), "is_clean": report.is_clean})
    elif report.problems:
        print_table(
            ["kind", "subject", "detail"], [[p.kind, p.subject, p.detail] for p in report.problems]
        )
    if not report.is_clean:
        left = len(report.problems) - report.repaired
        problems = "1 problem" if left == 1 else f"{left} problems"
        print_note(f"error: {problems}; check --repair puts right what it can")
        context.exit(1)
    if not as_json:
        print_note(f"clean, {report.repaired} repaired" if report.repaired else "clean")


@click.command()
@click.argument("name")
@access_options()
@as_json_option
def snapshot(access: Access, name: str, as_json: bool) -> None:
    """Give the store as it is now a NAME to come back to."""
    with access.open() as client:
        commit = client.snapshot(name)
    if as_json:
        print_json({"name": name, "commit": commit})
    else:
        print_note(f"snapshot {name} is commit {commit}")


@click.command()
@access_options(required=False)
@as_json_option
def encoders(access: Access | None, as_json: bool) -> None:
    """List the encoders installed, and those of a store."""
    from dataclasses import asdict

    found = _find_encoders(access)
    if as_json:
        print_json({"encoders": [asdict(encoder) for encoder in found]})
    else:
        print_table(*_encoder_table(found))


@click.command()
@access_options(required=False)
@as_json_option
@click.pass_context
def doctor(context: click.Context, access: Access | None, as_json: bool) -> None:
    """Examine the installation and, if named, a store.

    The exit status is 1 if anything is ill.
    """
    from dataclasses import asdict

    from tumorbase.server.doctor import examine

    findings = examine(access)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        print_table(
            ["what", "state", "detail"],
            [[f.name, "ok" if f.is_well else "ill", f.detail] for f in findings],
        )
    ill = [finding.name for finding in findings if not finding.is_well]
    if ill:
        print_note(f"error: not well: {', '.join(ill)}")
        context.exit(1)


def _oldest_first(snapshots: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(snapshots.items(), key=lambda snapshot: (snapshot[1], snapshot[0]))


def _find_encoders(access: Access | None) -> tuple[EncoderOverview, ...]:
    if access is None:
        from tumorbase.server.overview import all_encoders

        return all_encoders(None)
    with access.open() as client:
        return client.encoders()


def _encoder_table(
    found: tuple[EncoderOverview, ...],
) -> tuple[list[str], list[list[Any]]]:
    columns = ["name", "level", "dim", "vectors", "installed", "weights", "encoder_id", "licence"]
    rows = [
        [
            encoder.name,
            encoder.level,
            encoder.dim or "",
            encoder.vectors,
            "yes" if encoder.is_installed else "no",
            encoder.weights,
            encoder.encoder_id,
            encoder.licence,
        ]
        for encoder in found
    ]
    return columns, rows
