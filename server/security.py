"""Who may talk to the server and how: where it may listen, TLS, and the token."""

from __future__ import annotations

import ipaddress
import socket
import ssl
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


def address_of(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def check_free(host: str, port: int) -> None:
    """Nothing, where this process may listen; asked before gRPC, which would not say why not.

    Raises:
        InvalidRequest: the port is taken, or the address is not one of this machine.
    """
    bare = host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        socket.create_server((bare, port), family=family).close()
    except OSError as error:
        address = address_of(host, port)
        raise InvalidRequest(f"cannot listen on {address}: {error.strerror}") from error


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """The server's TLS credentials; None where it is to talk in clear text.

    Raises:
        InvalidRequest: a file cannot be read, or does not hold what it should.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    _check_pair(config.tls_cert, config.tls_key)
    pair = (read_secret(config.tls_key, "TLS key"), read_secret(config.tls_cert, "TLS certificate"))
    client_ca = config.tls_client_ca and read_secret(config.tls_client_ca, "TLS client authority")
    return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)


def _check_pair(cert: Path, key: Path) -> None:
    try:
        # A password is asked for on the terminal, where none is given.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise InvalidRequest(
            f"expected a PEM certificate in {cert} and its key, without a password, in {key}"
        ) from error
    except OSError:
        return  # `read_secret` says which of the two


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
