"""The commands about the weights of published networks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tumorbase.server.cli_access import as_json_option
from tumorbase.server.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from tumorbase.server.weights_report import WeightsReport

weights_option = click.option(
    "--weights",
    "weights_folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder with the weights of networks; else $TUMORBASE_WEIGHTS, else the hub's cache.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where networks compute; auto is the GPU where there is one.",
)


@click.group()
def weights() -> None:
    """Find and verify the weights of published networks."""


@weights.command("list")
@weights_option
@as_json_option
def list_weights(weights_folder: Path | None, as_json: bool) -> None:
    """List the weights there are, their licences, and where they are found."""
    from tumorbase.server.weights_report import describe_all

    reports = describe_all(weights_folder)
    _show(reports, as_json)
    _tell(report for report in reports if report.state == "wrong")


@weights.command()
@click.argument("names", nargs=-1)
@weights_option
@as_json_option
@click.pass_context
def verify(
    context: click.Context, names: tuple[str, ...], weights_folder: Path | None, as_json: bool
) -> None:
    """Load the weights called NAMES, or of encoders called so, or all that are found, into their
    networks.

    The exit status is 1 if any of them do not fit, or one of NAMES is not found.
    """
    from tumorbase.server.weights_report import verify_weights

    reports = verify_weights(names, weights_folder)
    _show(reports, as_json)
    bad = [report for report in reports if report.problem]
    _tell(bad)
    context.exit(1 if bad else 0)


@weights.command()
@click.argument("name")
@weights_option
def path(name: str, weights_folder: Path | None) -> None:
    """Print where the weights called NAME are, or those of the encoder called so."""
    from tumorbase.server.weights_report import verify_weights
    from tumorbase.store.errors import MissingWeights

    reports = verify_weights((name,), weights_folder, is_loaded=False)
    for report in reports:
        if report.problem:
            raise MissingWeights(report.problem)
    click.echo("\n".join(report.path for report in reports))


def _tell(reports: Iterable[WeightsReport]) -> None:
    for report in reports:
        print_note(f"error: {report.problem}")


def _show(reports: list[WeightsReport], as_json: bool) -> None:
    if as_json:
        print_json({"weights": [asdict(report) for report in reports]})
        return
    columns = ["name", "state", "network", "dim", "licence", "commercial", "path"]
    rows = [
        [r.name, r.state, r.network, r.dim, r.licence, "yes" if r.is_commercial else "no", r.path]
        for r in reports
    ]
    print_table(columns, rows, always=2)
