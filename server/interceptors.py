"""What every call passes through: the token check, and the mapping of errors to status codes."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from grpc.aio import ServicerContext

from tumorbase.server.status import STATUS, error_metadata
from tumorbase.store.errors import TumorbaseError, Unauthenticated

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]]


_HEALTH = "/grpc.health.v1.Health/"


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends calls that raise an error of the family with its status; bugs pass through."""

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        """The method's handler, wrapped; all our methods take one request."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        if handler.response_streaming:
            return _stream_handler(_mapped_stream(handler.unary_stream), handler)
        return _unary_handler(_mapped_unary(handler.unary_unary), handler)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls that do not bear the token; health checks need none."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        """The method's handler, or one that refuses."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(_HEALTH) or self._is_borne_by(details):
            return handler
        return _refusal(handler)

    def _is_borne_by(self, details: grpc.HandlerCallDetails) -> bool:
        borne = dict(details.invocation_metadata).get("authorization", "")
        return hmac.compare_digest(borne.encode(), self._expected)


async def _abort(context: ServicerContext, error: TumorbaseError) -> None:
    await context.abort(STATUS[type(error)], str(error), error_metadata(error))


def _mapped_unary(method: Callable[..., Any]) -> Callable[..., Any]:
    async def mapped(request: Any, context: ServicerContext) -> Any:
        try:
            return await method(request, context)
        except TumorbaseError as error:
            await _abort(context, error)

    return mapped


def _mapped_stream(method: Callable[..., Any]) -> Callable[..., Any]:
    async def mapped(request: Any, context: ServicerContext) -> AsyncIterator[Any]:
        # Read here, inside the try: an error may come after the first messages.
        try:
            async for response in method(request, context):
                yield response
        except TumorbaseError as error:
            await _abort(context, error)

    return mapped


def _refusal(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    error = Unauthenticated("the server wants a token: give the one in its token file")

    async def refuse(_: Any, context: ServicerContext) -> None:
        await _abort(context, error)

    async def refuse_stream(_: Any, context: ServicerContext) -> AsyncIterator[Any]:
        await _abort(context, error)
        yield  # never reached; makes this a stream

    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    if handler.response_streaming:
        return _stream_handler(refuse_stream, handler)
    return _unary_handler(refuse, handler)


def _unary_handler(
    method: Callable[..., Any], like: grpc.RpcMethodHandler
) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        method, like.request_deserializer, like.response_serializer
    )


def _stream_handler(
    method: Callable[..., Any], like: grpc.RpcMethodHandler
) -> grpc.RpcMethodHandler:
    return grpc.unary_stream_rpc_method_handler(
        method, like.request_deserializer, like.response_serializer
    )
