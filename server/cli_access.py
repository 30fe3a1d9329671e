"""The options that say which store a command asks: on disk, or through a server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from tumorbase.server.client import Client
    from tumorbase.server.local import LocalClient

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@dataclass(frozen=True)
class Access:
    """A store's directory, or a server's address and what it asks of its callers."""

    store: Path | None
    server: str | None
    token_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def open(self, weights: Path | None = None) -> Client | LocalClient:
        """The client to ask; a context manager. A server finds its `weights` by itself.

        Raises:
            NotFound: there is no store.
            StoreBusy: another process owns the store.
        """
        if self.server:
            return self._connect()
        from tumorbase.server.local import LocalClient

        assert self.store is not None
        return LocalClient.open(self.store, weights)

    def open_or_create(self) -> Client | LocalClient:
        """As `open`, making the store where its directory is empty or not there."""
        from tumorbase.store.store import FORMAT_FILE, Store

        if self.store and not (self.store / FORMAT_FILE).is_file():
            Store.create(self.store).close()
        return self.open()

    def _connect(self) -> Client:
        from tumorbase.server.client import Client, ClientTls
        from tumorbase.server.security import read_token

        assert self.server is not None
        token = read_token(self.token_file) if self.token_file else ""
        asks_tls = self.tls_ca or self.tls_cert
        tls = ClientTls(self.tls_ca, self.tls_cert, self.tls_key) if asks_tls else None
        return Client(self.server, token, tls)


def access_options(required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options, and hands the command an `Access` as its argument `access`.

    Where not `required`, the command is handed None if neither a store nor a server is named.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_access(**options: Any) -> Any:
            chosen = _choose({name: options.pop(name) for name in _NAMES}, required)
            return command(access=chosen, **options)

        for option in reversed(_OPTIONS):
            option(with_access)
        return with_access

    return add


_OPTIONS = (
    click.option(
        "--store",
        type=click.Path(path_type=Path),
        envvar="TUMORBASE_STORE",
        help="Directory of the store.  [$TUMORBASE_STORE]",
    ),
    click.option(
        "--server",
        metavar="HOST:PORT",
        envvar="TUMORBASE_SERVER",
        help="Ask the server there instead.  [$TUMORBASE_SERVER]",
    ),
    click.option(
        "--token-file",
        type=FILE,
        envvar="TUMORBASE_TOKEN_FILE",
        help="The server's token.  [$TUMORBASE_TOKEN_FILE]",
    ),
    click.option(
        "--tls-ca",
        type=FILE,
        envvar="TUMORBASE_TLS_CA",
        help="Talk TLS, and trust this authority.  [$TUMORBASE_TLS_CA]",
    ),
    click.option("--tls-cert", type=FILE, help="Certificate to show to the server."),
    click.option("--tls-key", type=FILE, help="Key of that certificate."),
)
_NAMES = ("store", "server", "token_file", "tls_ca", "tls_cert", "tls_key")


def _choose(options: dict[str, Any], required: bool) -> Access | None:
    context = click.get_current_context()
    typed = {
        name
        for name in ("store", "server")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if len(typed) == 1:  # what is typed goes before the environment
        options = {**options, ({"store", "server"} - typed).pop(): None}
    if options["store"] and options["server"]:
        raise click.UsageError("give --store or --server, not both")
    if not options["store"] and not options["server"]:
        if required:
            raise click.UsageError("give --store DIR or --server HOST:PORT")
        return None
    return Access(**options)
