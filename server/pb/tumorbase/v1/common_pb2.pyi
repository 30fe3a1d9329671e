from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Receipt(_message.Message):
    __slots__ = ("commit", "encoder", "weights_sha256", "is_exact", "where", "rows_searched", "notes")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    IS_EXACT_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    ROWS_SEARCHED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    commit: int
    encoder: str
    weights_sha256: str
    is_exact: bool
    where: str
    rows_searched: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, commit: _Optional[int] = ..., encoder: _Optional[str] = ..., weights_sha256: _Optional[str] = ..., is_exact: _Optional[bool] = ..., where: _Optional[str] = ..., rows_searched: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("text", "number", "integer", "truth")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    text: str
    number: float
    integer: int
    truth: bool
    def __init__(self, text: _Optional[str] = ..., number: _Optional[float] = ..., integer: _Optional[int] = ..., truth: _Optional[bool] = ...) -> None: ...
