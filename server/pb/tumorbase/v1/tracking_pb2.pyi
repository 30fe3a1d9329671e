from tumorbase.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrackLesionsRequest(_message.Message):
    __slots__ = ("patient_ids", "commit")
    PATIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    patient_ids: _containers.RepeatedScalarFieldContainer[str]
    commit: int
    def __init__(self, patient_ids: _Optional[_Iterable[str]] = ..., commit: _Optional[int] = ...) -> None: ...

class TrackLesionsResponse(_message.Message):
    __slots__ = ("patient_id", "tracks", "sums", "receipt")
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACKS_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    patient_id: str
    tracks: _containers.RepeatedCompositeFieldContainer[Track]
    sums: _containers.RepeatedCompositeFieldContainer[StudySum]
    receipt: _common_pb2.Receipt
    def __init__(self, patient_id: _Optional[str] = ..., tracks: _Optional[_Iterable[_Union[Track, _Mapping]]] = ..., sums: _Optional[_Iterable[_Union[StudySum, _Mapping]]] = ..., receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ...) -> None: ...

class Track(_message.Message):
    __slots__ = ("track_id", "status", "region", "lesions", "parents")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    LESIONS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    status: str
    region: str
    lesions: _containers.RepeatedCompositeFieldContainer[TrackLesion]
    parents: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, track_id: _Optional[str] = ..., status: _Optional[str] = ..., region: _Optional[str] = ..., lesions: _Optional[_Iterable[_Union[TrackLesion, _Mapping]]] = ..., parents: _Optional[_Iterable[str]] = ...) -> None: ...

class TrackLesion(_message.Message):
    __slots__ = ("lesion_id", "study_id", "change", "long_axis_mm", "short_axis_mm", "is_target")
    LESION_ID_FIELD_NUMBER: _ClassVar[int]
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    LONG_AXIS_MM_FIELD_NUMBER: _ClassVar[int]
    SHORT_AXIS_MM_FIELD_NUMBER: _ClassVar[int]
    IS_TARGET_FIELD_NUMBER: _ClassVar[int]
    lesion_id: str
    study_id: str
    change: str
    long_axis_mm: float
    short_axis_mm: float
    is_target: bool
    def __init__(self, lesion_id: _Optional[str] = ..., study_id: _Optional[str] = ..., change: _Optional[str] = ..., long_axis_mm: _Optional[float] = ..., short_axis_mm: _Optional[float] = ..., is_target: _Optional[bool] = ...) -> None: ...

class StudySum(_message.Message):
    __slots__ = ("study_id", "study_date", "sum_mm", "response", "nadir_mm", "new_lesions")
    STUDY_ID_FIELD_NUMBER: _ClassVar[int]
    STUDY_DATE_FIELD_NUMBER: _ClassVar[int]
    SUM_MM_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    NADIR_MM_FIELD_NUMBER: _ClassVar[int]
    NEW_LESIONS_FIELD_NUMBER: _ClassVar[int]
    study_id: str
    study_date: str
    sum_mm: float
    response: str
    nadir_mm: float
    new_lesions: int
    def __init__(self, study_id: _Optional[str] = ..., study_date: _Optional[str] = ..., sum_mm: _Optional[float] = ..., response: _Optional[str] = ..., nadir_mm: _Optional[float] = ..., new_lesions: _Optional[int] = ...) -> None: ...
