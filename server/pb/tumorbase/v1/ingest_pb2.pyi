from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunRequest(_message.Message):
    __slots__ = ("paths", "options")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    options: IngestOptions
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., options: _Optional[_Union[IngestOptions, _Mapping]] = ...) -> None: ...

class IngestOptions(_message.Message):
    __slots__ = ("source", "encoders", "workers", "device", "mpp", "patch_mpp", "patch_px", "min_lesion_mm3", "keep_identity", "pseudonym_key", "weights", "is_compiled")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MPP_FIELD_NUMBER: _ClassVar[int]
    PATCH_MPP_FIELD_NUMBER: _ClassVar[int]
    PATCH_PX_FIELD_NUMBER: _ClassVar[int]
    MIN_LESION_MM3_FIELD_NUMBER: _ClassVar[int]
    KEEP_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PSEUDONYM_KEY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    IS_COMPILED_FIELD_NUMBER: _ClassVar[int]
    source: str
    encoders: _containers.RepeatedScalarFieldContainer[str]
    workers: int
    device: str
    mpp: float
    patch_mpp: float
    patch_px: int
    min_lesion_mm3: float
    keep_identity: bool
    pseudonym_key: bytes
    weights: str
    is_compiled: bool
    def __init__(self, source: _Optional[str] = ..., encoders: _Optional[_Iterable[str]] = ..., workers: _Optional[int] = ..., device: _Optional[str] = ..., mpp: _Optional[float] = ..., patch_mpp: _Optional[float] = ..., patch_px: _Optional[int] = ..., min_lesion_mm3: _Optional[float] = ..., keep_identity: _Optional[bool] = ..., pseudonym_key: _Optional[bytes] = ..., weights: _Optional[str] = ..., is_compiled: _Optional[bool] = ...) -> None: ...

class RunResponse(_message.Message):
    __slots__ = ("progress", "summary")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    progress: IngestProgress
    summary: IngestSummary
    def __init__(self, progress: _Optional[_Union[IngestProgress, _Mapping]] = ..., summary: _Optional[_Union[IngestSummary, _Mapping]] = ...) -> None: ...

class IngestProgress(_message.Message):
    __slots__ = ("done", "total", "path", "state")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    path: str
    state: str
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ..., path: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class IngestSummary(_message.Message):
    __slots__ = ("run_id", "added", "unchanged", "quarantined", "seconds", "timings", "committed", "outdated", "left_out", "encoded")
    class AddedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TimingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class OutdatedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class EncodedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    OUTDATED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    added: _containers.ScalarMap[str, int]
    unchanged: int
    quarantined: _containers.RepeatedCompositeFieldContainer[Quarantined]
    seconds: float
    timings: _containers.ScalarMap[str, float]
    committed: int
    outdated: _containers.ScalarMap[str, int]
    left_out: int
    encoded: _containers.ScalarMap[str, int]
    def __init__(self, run_id: _Optional[str] = ..., added: _Optional[_Mapping[str, int]] = ..., unchanged: _Optional[int] = ..., quarantined: _Optional[_Iterable[_Union[Quarantined, _Mapping]]] = ..., seconds: _Optional[float] = ..., timings: _Optional[_Mapping[str, float]] = ..., committed: _Optional[int] = ..., outdated: _Optional[_Mapping[str, int]] = ..., left_out: _Optional[int] = ..., encoded: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Quarantined(_message.Message):
    __slots__ = ("path", "reason")
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    reason: str
    def __init__(self, path: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
