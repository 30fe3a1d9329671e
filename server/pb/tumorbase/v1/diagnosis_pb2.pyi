from tumorbase.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DiagnoseRequest(_message.Message):
    __slots__ = ("patient_id", "commit", "encoder")
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    patient_id: str
    commit: int
    encoder: str
    def __init__(self, patient_id: _Optional[str] = ..., commit: _Optional[int] = ..., encoder: _Optional[str] = ...) -> None: ...

class DiagnoseResponse(_message.Message):
    __slots__ = ("patient_id", "diagnoses", "receipt")
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSES_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    patient_id: str
    diagnoses: _containers.RepeatedCompositeFieldContainer[DiagnosisCandidate]
    receipt: _common_pb2.Receipt
    def __init__(self, patient_id: _Optional[str] = ..., diagnoses: _Optional[_Iterable[_Union[DiagnosisCandidate, _Mapping]]] = ..., receipt: _Optional[_Union[_common_pb2.Receipt, _Mapping]] = ...) -> None: ...

class DiagnosisCandidate(_message.Message):
    __slots__ = ("icd10cm", "name", "probability", "supporting_patients")
    ICD10CM_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SUPPORTING_PATIENTS_FIELD_NUMBER: _ClassVar[int]
    icd10cm: str
    name: str
    probability: float
    supporting_patients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, icd10cm: _Optional[str] = ..., name: _Optional[str] = ..., probability: _Optional[float] = ..., supporting_patients: _Optional[_Iterable[str]] = ...) -> None: ...
