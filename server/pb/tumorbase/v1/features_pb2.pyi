from tumorbase.v1 import common_pb2 as _common_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExportRequest(_message.Message):
    __slots__ = ("level", "as_of", "commit", "encoder")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    level: str
    as_of: str
    commit: int
    encoder: str
    def __init__(self, level: _Optional[str] = ..., as_of: _Optional[str] = ..., commit: _Optional[int] = ..., encoder: _Optional[str] = ...) -> None: ...

class ExportResponse(_message.Message):
    __slots__ = ("receipt", "arrow_ipc_piece")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    ARROW_IPC_PIECE_FIELD_NUMBER: _ClassVar[int]
    receipt: _common_pb2.Receipt
    arrow_ipc_piece: bytes
    def __init__(self, receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ..., arrow_ipc_piece: _Optional[bytes] = ...) -> None: ...
