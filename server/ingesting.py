"""The Ingest service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from grpc.aio import ServicerContext

from tumorbase.ingest.pipeline import IngestOptions, IngestSummary, Progress
from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message, to_value
from tumorbase.v1 import ingest_pb2 as pb
from tumorbase.v1 import ingest_pb2_grpc as pb_grpc


class Ingest(pb_grpc.IngestServicer):
    """Put files that lie where the server runs into its store."""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def Run(
        self, request: pb.RunRequest, context: ServicerContext
    ) -> AsyncIterator[pb.RunResponse]:
        """See `LocalClient.ingest`."""
        paths = [Path(path) for path in request.paths]
        options = to_value(request.options, IngestOptions)

        def ingest(
            tell: Callable[[Progress], None], is_cancelled: Callable[[], bool]
        ) -> IngestSummary:
            return self._local.ingest(paths, options, tell, is_cancelled)

        async for part in self._threads.report(ingest):
            yield _response(part)


def _response(part: Progress | IngestSummary) -> pb.RunResponse:
    if isinstance(part, Progress):
        return pb.RunResponse(progress=to_message(part, pb.IngestProgress))
    return pb.RunResponse(summary=to_message(part, pb.IngestSummary))
