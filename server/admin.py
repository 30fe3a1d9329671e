"""The Admin service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from grpc.aio import ServicerContext

from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message
from tumorbase.v1 import admin_pb2 as pb
from tumorbase.v1 import admin_pb2_grpc as pb_grpc


class Admin(pb_grpc.AdminServicer):
    """Look after the store."""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def Status(
        self, request: pb.StatusRequest, context: ServicerContext
    ) -> pb.StatusResponse:
        """See `LocalClient.status`."""
        return to_message(await self._threads.run(self._local.status), pb.StatusResponse)

    async def Check(self, request: pb.CheckRequest, context: ServicerContext) -> pb.CheckResponse:
        """See `LocalClient.check`."""
        report = await self._threads.run(self._local.check, request.repair)
        return to_message(report, pb.CheckResponse)

    async def CreateSnapshot(
        self, request: pb.CreateSnapshotRequest, context: ServicerContext
    ) -> pb.CreateSnapshotResponse:
        """See `LocalClient.snapshot`."""
        commit = await self._threads.run(self._local.snapshot, request.name)
        return pb.CreateSnapshotResponse(commit=commit)

    async def ListSnapshots(
        self, request: pb.ListSnapshotsRequest, context: ServicerContext
    ) -> pb.ListSnapshotsResponse:
        """See `LocalClient.snapshots`."""
        named = await self._threads.run(self._local.snapshots)
        return pb.ListSnapshotsResponse(
            snapshots=[pb.Snapshot(name=name, commit=commit) for name, commit in named.items()]
        )

    async def ListEncoders(
        self, request: pb.ListEncodersRequest, context: ServicerContext
    ) -> pb.ListEncodersResponse:
        """See `LocalClient.encoders`."""
        encoders = await self._threads.run(self._local.encoders)
        return pb.ListEncodersResponse(
            encoders=[to_message(encoder, pb.EncoderOverview) for encoder in encoders]
        )
