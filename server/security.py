"""Who may talk to the server and how: where it may listen, TLS, and the token."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import grpc

from tumorbase.server.config import ServerConfig
from tumorbase.store.errors import InvalidRequest


def check_listening(config: ServerConfig) -> None:
    """Nothing, where it is safe to listen as configured.

    Raises:
        InvalidRequest: beyond this machine without TLS and not told that it may, or a part of the
            TLS settings is missing.
    """
    if (config.tls_cert is None) != (config.tls_key is None):
        raise InvalidRequest("TLS needs both --tls-cert and --tls-key")
    if config.tls_client_ca is not None and config.tls_cert is None:
        raise InvalidRequest("--tls-client-ca needs --tls-cert and --tls-key")
    if not (is_loopback(config.host) or config.tls_cert or config.is_insecure):
        raise InvalidRequest(
            f"{config.host} can be reached from other machines: "
            "give --tls-cert and --tls-key, or --insecure to listen there in clear text"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, a name or an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:  # another name: it may be anything
        return False


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """The server's TLS credentials; None where it is to talk in clear text.

    Raises:
        InvalidRequest: a file cannot be read.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    pair = (read_secret(config.tls_key, "TLS key"), read_secret(config.tls_cert, "TLS certificate"))
    client_ca = config.tls_client_ca and read_secret(config.tls_client_ca, "TLS client authority")
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def read_secret(path: Path, what: str) -> bytes:
    """The file's bytes.

    Raises:
        InvalidRequest: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read the {what} {path}: {error.strerror}") from error


def read_token(path: Path) -> str:
    """The token: the file's text without the white space around it.

    Raises:
        InvalidRequest: the file cannot be read, is empty, or is not printable ASCII.
    """
    token = read_secret(path, "token file").decode("ascii", errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidRequest(f"the token file {path} must hold one line of printable ASCII")
    return token
