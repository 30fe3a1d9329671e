"""Frozen dataclasses to protobuf messages and back, field by field, by name.

A message mirrors its dataclass: every field of the dataclass is a field of the message. Nested
dataclasses are messages, tuples are repeated fields, a pair of a fixed length is a message whose
fields come in its order, a dict is a map, and None is an unset field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

from tumorbase.v1.common_pb2 import Value

M = TypeVar("M", bound=Message)
V = TypeVar("V")


def to_message(value: Any, message_class: type[M]) -> M:
    """The dataclass `value` as a message.

    Raises:
        AttributeError: the message lacks one of the fields.
    """
    message = message_class()
    for name in _fields(type(value)):  # type: ignore[arg-type]  # mypy: a type is no Hashable
        _put(message, name, getattr(value, name))
    return message


def to_value(message: Message, value_class: type[V]) -> V:
    """The message as `value_class`, by the type hints of its fields; other fields are left out.

    An optional field that is unset takes the default of `value_class`.
    """
    hints = _fields(value_class)  # type: ignore[arg-type]
    given = {name: hint for name, hint in hints.items() if not _is_left_out(message, name)}
    return value_class(**{name: _take(message, name, hint) for name, hint in given.items()})


def _is_left_out(message: Message, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name[name]
    return field.has_presence and field.message_type is None and not message.HasField(name)


@cache
def _fields(value_class: type) -> dict[str, Any]:
    hints = get_type_hints(value_class)
    return {field.name: hints[field.name] for field in dataclasses.fields(value_class)}


def _put(message: Message, name: str, content: Any) -> None:
    target = getattr(message, name)
    if content is None:
        return
    if isinstance(content, Mapping):
        _put_map(target, content)
    elif isinstance(content, tuple):
        _put_all(target, content)
    elif dataclasses.is_dataclass(content):
        target.CopyFrom(to_message(content, type(target)))
    else:
        setattr(message, name, content)


def _put_map(target: Any, content: Mapping[str, Any]) -> None:
    if type(target).__name__ == "ScalarMapContainer":
        target.update(content)
        return
    for key, item in content.items():
        target[key].CopyFrom(value_message(item))


def _put_all(target: Any, content: tuple[Any, ...]) -> None:
    for item in content:
        if isinstance(item, tuple):
            element = target.add()
            for field, part in zip(element.DESCRIPTOR.fields, item, strict=True):
                getattr(element, field.name).extend(part)
        elif dataclasses.is_dataclass(item):
            element = target.add()
            element.CopyFrom(to_message(item, type(element)))
        else:
            target.extend(content)
            return


def value_message(content: str | float | bool | None) -> Value:
    """One column's value as a `Value`; None is a value of no kind."""
    if content is None:
        return Value()
    if isinstance(content, bool):
        return Value(truth=content)
    if isinstance(content, int):
        return Value(integer=content)
    if isinstance(content, float):
        return Value(number=content)
    return Value(text=content)


def _take(message: Message, name: str, hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        (hint,) = (option for option in get_args(hint) if option is not NoneType)
    return _convert(getattr(message, name), hint)


def _convert(content: Any, hint: Any) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if origin is tuple and options[-1] is Ellipsis:
        return tuple(_convert(item, options[0]) for item in content)
    if origin is tuple:
        parts = [getattr(content, field.name) for field in content.DESCRIPTOR.fields]
        return tuple(_convert(part, option) for part, option in zip(parts, options, strict=True))
    if origin in (dict, Mapping):
        return {key: _convert_item(item) for key, item in content.items()}
    if dataclasses.is_dataclass(hint):
        return to_value(content, hint)  # type: ignore[arg-type]
    return content


def _convert_item(item: Any) -> Any:
    if not isinstance(item, Value):
        return item
    kind = item.WhichOneof("kind")
    return None if kind is None else getattr(item, kind)
