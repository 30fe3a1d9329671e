from tumorbase.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FindSimilarRequest(_message.Message):
    __slots__ = ("level", "id", "vector", "text", "limit", "encoder", "where", "same_patient", "exact", "commit")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    SAME_PATIENT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    level: str
    id: str
    vector: _containers.RepeatedScalarFieldContainer[float]
    text: str
    limit: int
    encoder: str
    where: str
    same_patient: bool
    exact: bool
    commit: int
    def __init__(self, level: _Optional[str] = ..., id: _Optional[str] = ..., vector: _Optional[_Iterable[float]] = ..., text: _Optional[str] = ..., limit: _Optional[int] = ..., encoder: _Optional[str] = ..., where: _Optional[str] = ..., same_patient: _Optional[bool] = ..., exact: _Optional[bool] = ..., commit: _Optional[int] = ...) -> None: ...

class FindSimilarResponse(_message.Message):
    __slots__ = ("level", "encoder", "is_exact", "hits", "receipt")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    IS_EXACT_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    level: str
    encoder: str
    is_exact: bool
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    receipt: _common_pb2.Receipt
    def __init__(self, level: _Optional[str] = ..., encoder: _Optional[str] = ..., is_exact: _Optional[bool] = ..., hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("id", "patient_id", "distance", "details", "contributions")
    class DetailsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _common_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_common_pb2.Value, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    id: str
    patient_id: str
    distance: float
    details: _containers.MessageMap[str, _common_pb2.Value]
    contributions: _containers.RepeatedCompositeFieldContainer[Contribution]
    def __init__(self, id: _Optional[str] = ..., patient_id: _Optional[str] = ..., distance: _Optional[float] = ..., details: _Optional[_Mapping[str, _common_pb2.Value]] = ..., contributions: _Optional[_Iterable[_Union[Contribution, _Mapping]]] = ...) -> None: ...

class Contribution(_message.Message):
    __slots__ = ("modality", "distance", "weight")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    modality: str
    distance: float
    weight: float
    def __init__(self, modality: _Optional[str] = ..., distance: _Optional[float] = ..., weight: _Optional[float] = ...) -> None: ...
