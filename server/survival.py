"""The Survival service."""

# ruff: noqa: N802 - gRPC names its methods in CamelCase
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from grpc.aio import ServicerContext

from tumorbase.query.answers import TrainingQuestion
from tumorbase.server.local import LocalClient
from tumorbase.server.threads import Threads
from tumorbase.server.wire import to_message, to_value
from tumorbase.v1 import survival_pb2 as pb
from tumorbase.v1 import survival_pb2_grpc as pb_grpc

_SCORES_A_MESSAGE = 256


class Survival(pb_grpc.SurvivalServicer):
    """How will this patient do?"""

    def __init__(self, local: LocalClient, threads: Threads) -> None:
        self._local = local
        self._threads = threads

    async def Train(self, request: pb.TrainRequest, context: ServicerContext) -> pb.TrainResponse:
        """See `LocalClient.train_survival`."""
        question = to_value(request, TrainingQuestion)
        train = partial(self._local.train_survival, question)
        trained = await self._threads.run_cancellable(train)
        return to_message(trained, pb.TrainResponse)

    async def Score(
        self, request: pb.ScoreRequest, context: ServicerContext
    ) -> AsyncIterator[pb.ScoreResponse]:
        """See `LocalClient.score`; an answer without scores is one message."""
        wanted = (request.model, tuple(request.patient_ids), request.commit)
        scored = await self._threads.run(self._local.score, *wanted)
        for start in range(0, max(1, len(scored.scores)), _SCORES_A_MESSAGE):
            part = scored.scores[start : start + _SCORES_A_MESSAGE]
            yield to_message(replace(scored, scores=part), pb.ScoreResponse)
