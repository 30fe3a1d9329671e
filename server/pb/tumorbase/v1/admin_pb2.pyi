from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("path", "format_version", "commit", "counts", "encoders", "snapshots", "quarantined", "models", "size_bytes")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SnapshotsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    PATH_FIELD_NUMBER: _ClassVar[int]
    FORMAT_VERSION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    format_version: int
    commit: int
    counts: _containers.ScalarMap[str, int]
    encoders: _containers.RepeatedCompositeFieldContainer[EncoderOverview]
    snapshots: _containers.ScalarMap[str, int]
    quarantined: int
    models: _containers.RepeatedScalarFieldContainer[str]
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., format_version: _Optional[int] = ..., commit: _Optional[int] = ..., counts: _Optional[_Mapping[str, int]] = ..., encoders: _Optional[_Iterable[_Union[EncoderOverview, _Mapping]]] = ..., snapshots: _Optional[_Mapping[str, int]] = ..., quarantined: _Optional[int] = ..., models: _Optional[_Iterable[str]] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class EncoderOverview(_message.Message):
    __slots__ = ("name", "level", "encoder_id", "version", "dim", "weights_sha256", "is_standardised", "is_installed", "vectors", "weights", "licence", "preprocessing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SHA256_FIELD_NUMBER: _ClassVar[int]
    IS_STANDARDISED_FIELD_NUMBER: _ClassVar[int]
    IS_INSTALLED_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    level: str
    encoder_id: str
    version: str
    dim: int
    weights_sha256: str
    is_standardised: bool
    is_installed: bool
    vectors: int
    weights: str
    licence: str
    preprocessing: str
    def __init__(self, name: _Optional[str] = ..., level: _Optional[str] = ..., encoder_id: _Optional[str] = ..., version: _Optional[str] = ..., dim: _Optional[int] = ..., weights_sha256: _Optional[str] = ..., is_standardised: _Optional[bool] = ..., is_installed: _Optional[bool] = ..., vectors: _Optional[int] = ..., weights: _Optional[str] = ..., licence: _Optional[str] = ..., preprocessing: _Optional[str] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("repair",)
    REPAIR_FIELD_NUMBER: _ClassVar[int]
    repair: bool
    def __init__(self, repair: _Optional[bool] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("problems", "repaired")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    REPAIRED_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    repaired: int
    def __init__(self, problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., repaired: _Optional[int] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("kind", "subject", "detail", "commit_id")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    COMMIT_ID_FIELD_NUMBER: _ClassVar[int]
    kind: str
    subject: str
    detail: str
    commit_id: int
    def __init__(self, kind: _Optional[str] = ..., subject: _Optional[str] = ..., detail: _Optional[str] = ..., commit_id: _Optional[int] = ...) -> None: ...

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("commit",)
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    commit: int
    def __init__(self, commit: _Optional[int] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("name", "commit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    commit: int
    def __init__(self, name: _Optional[str] = ..., commit: _Optional[int] = ...) -> None: ...

class ListEncodersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEncodersResponse(_message.Message):
    __slots__ = ("encoders",)
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    encoders: _containers.RepeatedCompositeFieldContainer[EncoderOverview]
    def __init__(self, encoders: _Optional[_Iterable[_Union[EncoderOverview, _Mapping]]] = ...) -> None: ...
