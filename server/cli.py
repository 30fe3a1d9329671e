"""The command line, `tumorbase`. Starts fast: all that takes time is imported where it is used."""

from __future__ import annotations

from typing import Any

import click

from tumorbase.server.cli_admin import check, doctor, encoders, serve, snapshot, status
from tumorbase.server.cli_data import export, ingest
from tumorbase.server.cli_demo import demo
from tumorbase.server.cli_questions import diagnose, score, similar, track, train
from tumorbase.server.cli_weights import weights

_INTERRUPTED_EXIT = 128 + 2  # as shells have it: SIGINT


class _Group(click.Group):
    """Ends with one line where an error of the family ends a command; bugs keep their traceback."""

    def invoke(self, context: click.Context) -> Any:
        from tumorbase.store.errors import TumorbaseError

        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("error: interrupted; what was committed stays", err=True)
            context.exit(_INTERRUPTED_EXIT)
        except TumorbaseError as error:
            message = " ".join(str(error).split())  # one line, whatever the library below said
            click.echo(f"error: {message}", err=True)
            context.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tumorbase")
def main() -> None:
    """Feature store and retrieval database for oncology imaging.

    Each command but serve asks a store on disk (--store DIR) or a server (--server HOST:PORT).

    Exit status: 0 done, 1 error, 2 usage, 3 done with quarantined inputs.
    """


for _command in (
    ingest,
    similar,
    track,
    train,
    score,
    diagnose,
    export,
    serve,
    status,
    check,
    snapshot,
    encoders,
    weights,
    doctor,
    demo,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
