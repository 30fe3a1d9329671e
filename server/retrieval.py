"""The Retrieval service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from grpc.aio import ServicerContext

from tumorbase.query.answers import SimilarQuestion
from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message, to_value
from tumorbase.v1 import retrieval_pb2 as pb
from tumorbase.v1 import retrieval_pb2_grpc as pb_grpc


class Retrieval(pb_grpc.RetrievalServicer):
    """Who is like this one?"""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def FindSimilar(
        self, request: pb.FindSimilarRequest, context: ServicerContext
    ) -> pb.FindSimilarResponse:
        """See `LocalClient.similar`."""
        question = to_value(request, SimilarQuestion)
        found = await self._threads.run(self._local.similar, question)
        return to_message(found, pb.FindSimilarResponse)
