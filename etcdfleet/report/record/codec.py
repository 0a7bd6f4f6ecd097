"""Dataclasses as JSON and back, by the types of their fields. What is absent or malformed is left out when read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

D = TypeVar("D", bound="DataclassInstance")
V = TypeVar("V")
_MALFORMED = (TypeError, ValueError, OverflowError)


class Codec(NamedTuple):
    """How values of one type are written as JSON, and read; ``read`` raises one of _MALFORMED."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def document(value: DataclassInstance, keys: Iterable[str] = (), **derived: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON; or exactly these ``keys``, some ``derived`` from the fields."""
    codecs = _codecs(type(value))
    return {key: derived[key] if key in derived else codecs[key].write(getattr(value, key)) for key in keys or codecs}


def read(kind: type[D], raw: object, **arguments: Any) -> D:
    """Return the dataclass whose `document` was ``raw``, apart from the fields that ``arguments`` has. Raises nothing.

    A field that is absent or malformed has its default, or else is empty.
    """
    values = raw if isinstance(raw, Mapping) else {}
    for name, codec in _codecs(kind).items():
        if name in values and name not in arguments:
            try:
                arguments[name] = codec.read(values[name])
            except _MALFORMED:
                continue
    return kind(**{name: empty() for name, empty in _required(kind).items() if name not in arguments}, **arguments)


def read_value(kind: type[V], raw: object, default: V) -> V:
    """Return the value as this type, or the default. Raises nothing."""
    hashable: object = kind
    try:
        value: V = _codec(hashable).read(raw)
    except _MALFORMED:
        return default
    return value


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def _codecs(kind: type[DataclassInstance]) -> dict[str, Codec]:
    hints = get_type_hints(kind)
    return {field.name: _codec(hints[field.name]) for field in fields(kind)}


@cache
def _required(kind: type[DataclassInstance]) -> dict[str, Callable[[], Any]]:
    """Return what makes an empty value, of each field that has no default."""
    hints = get_type_hints(kind)
    required = [field.name for field in fields(kind) if field.default is field.default_factory is MISSING]
    return {name: get_origin(hints[name]) or hints[name] for name in required}


@cache
def _codec(kind: Any) -> Codec:
    whole = get_origin(kind) or kind
    inner = [_codec(one) for one in get_args(kind) if one is not ... and one is not type(None)]
    if type(None) in get_args(kind):
        write, read_inner = inner[0]
        return Codec(lambda value: None if value is None else write(value), read_inner)
    if whole in (tuple, list):
        return Codec(lambda items: [inner[0].write(item) for item in items], lambda raw: whole(_each(inner[0], raw)))
    if isinstance(whole, type) and is_dataclass(whole):
        return Codec(document, lambda raw: read(whole, _of(Mapping, raw)))
    if whole is datetime:
        return Codec(utc_text, _moment)
    if whole is float:
        return Codec(partial(round, ndigits=3), lambda raw: float(_of((int, float), raw)))
    if whole in (dict, Mapping):
        return Codec(dict, lambda raw: dict(_of(Mapping, raw)))
    if isinstance(whole, type) and issubclass(whole, Enum):
        return Codec(lambda value: value.value, whole)
    return Codec(lambda value: value, partial(_of, whole))


def _each(codec: Codec, raw: object) -> Iterator[Any]:
    for item in _of(list, raw):
        with suppress(*_MALFORMED):
            yield codec.read(item)


def _moment(raw: object) -> datetime:
    moment = datetime.fromisoformat(_of(str, raw))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of(kind: type[V] | tuple[type[V], ...], raw: object) -> Any:
    if not isinstance(raw, kind) or (isinstance(raw, bool) and kind is not bool):
        raise ValueError("of another type")
    return raw
