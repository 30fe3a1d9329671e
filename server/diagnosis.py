"""The Diagnosis service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from grpc.aio import ServicerContext

from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message
from tumorbase.v1 import diagnosis_pb2 as pb
from tumorbase.v1 import diagnosis_pb2_grpc as pb_grpc


class Diagnosis(pb_grpc.DiagnosisServicer):
    """What could this be?"""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def Diagnose(
        self, request: pb.DiagnoseRequest, context: ServicerContext
    ) -> pb.DiagnoseResponse:
        """See `LocalClient.diagnose`."""
        found = await self._threads.run(
            self._local.diagnose, request.patient_id, request.commit, request.encoder
        )
        return to_message(found, pb.DiagnoseResponse)
