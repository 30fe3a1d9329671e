"""The server's settings, read once at start and passed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerConfig:
    """What `tumorbase serve` was told."""

    store: Path
    host: str = "127.0.0.1"
    port: int = 50051  # 0: any free one
    tls_cert: Path | None = None  # PEM, the chain
    tls_key: Path | None = None  # PEM
    tls_client_ca: Path | None = None  # PEM; clients must then show its certificate
    is_insecure: bool = False  # may listen beyond this machine without TLS
    token_file: Path | None = None
    threads: int = 4  # that read and write the store; at most so many calls work at once
    grace_seconds: float = 30.0  # for calls in flight, when told to stop


# A message of either direction may be this large: a thousand hits, or the folds of a large cohort.
MAX_MESSAGE_BYTES = 64 << 20
# Pieces of a stream are about this large: small enough to interleave, large enough to be cheap.
PIECE_BYTES = 1 << 20
