"""The command demo."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("tumorbase-demo"),
    show_default=True,
    help="Folder of the phantom cohort, its store and the page.",
)
@click.option("--seed", default=0, show_default=True)
def demo(out: Path, seed: int) -> None:
    """Show it all on a phantom cohort, summed up in a page.

    The cohort is made from the seed, ingested, served and asked all kinds of questions. The last
    line is the path of the page.
    """
    from tumorbase.server.demo.run import run_demo

    click.echo(run_demo(out, seed))
