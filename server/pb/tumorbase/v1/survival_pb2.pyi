from tumorbase.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainRequest(_message.Message):
    __slots__ = ("endpoint", "architecture", "name", "folds", "seed")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    architecture: str
    name: str
    folds: _containers.RepeatedCompositeFieldContainer[Fold]
    seed: int
    def __init__(self, endpoint: _Optional[str] = ..., architecture: _Optional[str] = ..., name: _Optional[str] = ..., folds: _Optional[_Iterable[_Union[Fold, _Mapping]]] = ..., seed: _Optional[int] = ...) -> None: ...

class Fold(_message.Message):
    __slots__ = ("train_patient_ids", "validation_patient_ids")
    TRAIN_PATIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_PATIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    train_patient_ids: _containers.RepeatedScalarFieldContainer[str]
    validation_patient_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, train_patient_ids: _Optional[_Iterable[str]] = ..., validation_patient_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class TrainResponse(_message.Message):
    __slots__ = ("model", "architecture", "endpoint", "patients", "events", "features", "c_index", "seconds", "receipt")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    PATIENTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    C_INDEX_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    model: str
    architecture: str
    endpoint: str
    patients: int
    events: int
    features: int
    c_index: CIndex
    seconds: float
    receipt: _common_pb2.Receipt
    def __init__(self, model: _Optional[str] = ..., architecture: _Optional[str] = ..., endpoint: _Optional[str] = ..., patients: _Optional[int] = ..., events: _Optional[int] = ..., features: _Optional[int] = ..., c_index: _Optional[_Union[CIndex, _Mapping]] = ..., seconds: _Optional[float] = ..., receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ...) -> None: ...

class CIndex(_message.Message):
    __slots__ = ("mean", "sd", "folds")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    SD_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    mean: float
    sd: float
    folds: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, mean: _Optional[float] = ..., sd: _Optional[float] = ..., folds: _Optional[_Iterable[float]] = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "patient_ids", "commit")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PATIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    model: str
    patient_ids: _containers.RepeatedScalarFieldContainer[str]
    commit: int
    def __init__(self, model: _Optional[str] = ..., patient_ids: _Optional[_Iterable[str]] = ..., commit: _Optional[int] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("model", "scores", "receipt")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    model: str
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    receipt: _common_pb2.Receipt
    def __init__(self, model: _Optional[str] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("patient_id", "risk", "percentile", "survival", "modalities")
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    SURVIVAL_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    patient_id: str
    risk: float
    percentile: float
    survival: SurvivalCurve
    modalities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, patient_id: _Optional[str] = ..., risk: _Optional[float] = ..., percentile: _Optional[float] = ..., survival: _Optional[_Union[SurvivalCurve, _Mapping]] = ..., modalities: _Optional[_Iterable[str]] = ...) -> None: ...

class SurvivalCurve(_message.Message):
    __slots__ = ("time_days", "probability")
    TIME_DAYS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    time_days: _containers.RepeatedScalarFieldContainer[float]
    probability: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, time_days: _Optional[_Iterable[float]] = ..., probability: _Optional[_Iterable[float]] = ...) -> None: ...
