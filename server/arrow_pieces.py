"""An Arrow IPC stream cut into pieces that fit into messages, and put together again."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator

import pyarrow as pa

from tumorbase.server.config import PIECE_BYTES


def pieces(reader: pa.RecordBatchReader) -> Generator[bytes]:
    """The reader's batches as pieces of one IPC stream, the first one being its schema."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        yield _drain(sink)
        for batch in reader:
            for part in _parts(batch):
                writer.write_batch(part)
                yield _drain(sink)
    yield _drain(sink)


def joined(stream: Iterator[bytes]) -> pa.RecordBatchReader:
    """The reader of an IPC stream that comes in pieces, read as far as is asked for."""
    return pa.ipc.open_stream(_PieceFile(stream))


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows == 0:
        return
    rows = max(1, PIECE_BYTES * batch.num_rows // max(1, batch.nbytes))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _drain(sink: io.BytesIO) -> bytes:
    piece = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return piece


class _PieceFile(io.RawIOBase):
    """A file to read from whose bytes come from an iterator."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """As many bytes as asked for, fewer only at the end."""
        gathered = []
        while size != 0 and (part := self._next_part(size)):
            gathered.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(gathered)

    def _next_part(self, size: int) -> memoryview:
        while not self._rest:
            piece = next(self._stream, None)
            if piece is None:
                return memoryview(b"")
            self._rest = memoryview(piece)
        part = self._rest[: size if size > 0 else None]
        self._rest = self._rest[len(part) :]
        return part
