"""The Tracking service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from collections.abc import AsyncIterator

from grpc.aio import ServicerContext

from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message
from tumorbase.v1 import tracking_pb2 as pb
from tumorbase.v1 import tracking_pb2_grpc as pb_grpc


class Tracking(pb_grpc.TrackingServicer):
    """Is this the lesion we measured last time?"""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def TrackLesions(
        self, request: pb.TrackLesionsRequest, context: ServicerContext
    ) -> AsyncIterator[pb.TrackLesionsResponse]:
        """See `LocalClient.track_each`."""
        each = self._local.track_each(tuple(request.patient_ids), request.commit)
        async for patient in self._threads.stream(each):
            yield to_message(patient, pb.TrackLesionsResponse)
