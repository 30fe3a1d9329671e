"""The Features service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from collections.abc import AsyncIterator, Generator

from grpc.aio import ServicerContext

from tumorbase.server.arrow_pieces import pieces
from tumorbase.server.as_of import parse_as_of
from tumorbase.server.local import LocalClient, receipt_of
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message
from tumorbase.v1 import common_pb2, features_pb2_grpc
from tumorbase.v1 import features_pb2 as pb


class Features(features_pb2_grpc.FeaturesServicer):
    """Give me the training set."""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def Export(
        self, request: pb.ExportRequest, context: ServicerContext
    ) -> AsyncIterator[pb.ExportResponse]:
        """See `LocalClient.export`."""
        async for response in self._threads.stream(self._responses(request)):
            yield response

    def _responses(self, request: pb.ExportRequest) -> Generator[pb.ExportResponse]:
        time = parse_as_of(request.as_of)
        reader = self._local.export(request.level, time, request.commit, request.encoder)
        yield pb.ExportResponse(receipt=to_message(receipt_of(reader), common_pb2.Receipt))
        for piece in pieces(reader):
            yield pb.ExportResponse(arrow_ipc_piece=piece)
