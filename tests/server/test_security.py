"""Who may reach the server, and who is let in."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tumorbase.server.client import Client, ClientTls
from tumorbase.server.config import ServerConfig
from tumorbase.server.local import LocalClient
from tumorbase.server.security import (
    address_of,
    check_listening,
    is_loopback,
    read_token,
    server_credentials,
)
from tumorbase.store.errors import InvalidRequest, Unauthenticated, Unavailable

Serve = Callable[..., AbstractContextManager[str]]
Pem = tuple[Path, Path]


@pytest.fixture
def pem(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tumorbase test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token `open sesame`."""
    file = tmp_path / "token"
    file.write_text("open sesame\n")
    return file


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::", ""])
def test_listening_beyond_loopback_needs_tls_or_a_word(host: str) -> None:
    with pytest.raises(InvalidRequest, match="--insecure"):
        check_listening(ServerConfig(Path("s"), host))
    check_listening(ServerConfig(Path("s"), host, is_insecure=True))
    check_listening(ServerConfig(Path("s"), host, tls_cert=Path("c"), tls_key=Path("k")))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check_listening(ServerConfig(Path("s"), host))


@pytest.mark.parametrize(
    "half", [{"tls_cert": Path("c")}, {"tls_key": Path("k")}, {"tls_client_ca": Path("a")}]
)
def test_half_of_the_tls_settings_is_refused(half: dict[str, Path]) -> None:
    with pytest.raises(InvalidRequest, match="--tls-"):
        check_listening(ServerConfig(Path("s"), **half))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"  \n", b"two\nlines", "schlüssel".encode()])
def test_an_unsound_token_file_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match="token"):
        read_token(file)


def test_only_the_bearer_of_the_token_is_let_in(
    local: LocalClient, token_file: Path, serve: Serve
) -> None:
    with serve(local, token_file=token_file) as address:
        with Client(address, "open sesame") as client:
            assert client.status().commit > 0
            assert client.export("lesion").read_all().num_rows > 0
        for token in ("", "open sesam", "open sesame!"):
            with Client(address, token) as client:
                for ask in (client.status, lambda: client.export("lesion")):
                    with pytest.raises(Unauthenticated):
                        ask()


def test_health_needs_no_token(local: LocalClient, token_file: Path, serve: Serve) -> None:
    with serve(local, token_file=token_file) as address, grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_tls_serves_those_who_trust_its_certificate(
    local: LocalClient, pem: Pem, serve: Serve
) -> None:
    cert, key = pem
    with serve(local, tls_cert=cert, tls_key=key) as address:
        with Client(address, tls=ClientTls(ca=cert)) as client:
            assert client.status().commit > 0
        for tls in (None, ClientTls()):
            with Client(address, tls=tls) as client, pytest.raises(Unavailable):
                client.status()


def test_client_certificates_are_asked_for(local: LocalClient, pem: Pem, serve: Serve) -> None:
    cert, key = pem
    with serve(local, tls_cert=cert, tls_key=key, tls_client_ca=cert) as address:
        with Client(address, tls=ClientTls(cert, cert, key)) as client:
            assert client.status().commit > 0
        with Client(address, tls=ClientTls(cert)) as client, pytest.raises(Unavailable):
            client.status()


def test_tls_files_that_are_no_pair_are_refused(pem: Pem, token_file: Path) -> None:
    cert, key = pem
    for pair in ((token_file, key), (cert, token_file), (key, cert)):
        with pytest.raises(InvalidRequest, match="PEM certificate"):
            server_credentials(ServerConfig(Path("s"), tls_cert=pair[0], tls_key=pair[1]))
    missing = ServerConfig(Path("s"), tls_cert=cert.with_name("none"), tls_key=key)
    with pytest.raises(InvalidRequest, match="none"):
        server_credentials(missing)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert address_of("::1", 5) == address_of("[::1]", 5) == "[::1]:5"
    assert address_of("localhost", 5) == "localhost:5"
