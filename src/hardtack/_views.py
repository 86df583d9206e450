"""`session.view(Type)`: session data as a `msgspec.Struct`, a dataclass or a pydantic model, and back."""

from __future__ import annotations

import dataclasses
import sys
from functools import cache
from typing import Any, TypeVar, get_type_hints

from hardtack import values
from hardtack.errors import ConfigError, UnsupportedValue

T = TypeVar("T")


class View:
    """An object that a session keeps, and which of its fields the application has changed."""

    __slots__ = ("_known", "object")

    def __init__(self, kind: type[Any], data: dict[str, Any]) -> None:
        self.object: Any = build(kind, data)
        self._known = {name: _encoding(value) for name, value in to_mapping(self.object).items()}

    def changes(self) -> dict[str, Any]:
        """The fields changed since the object was made, or since this was asked: defaults alone create no session."""
        changed = {}
        for name, value in to_mapping(self.object).items():
            encoding = _encoding(value)
            if self._known.get(name) != encoding:
                self._known[name] = encoding
                changed[name] = value
        return changed


def _encoding(value: Any) -> bytes | str:
    """What two equal values share. What cannot be kept (a type of the application's own) counts when it is changed."""
    try:
        return values.pack({"": value})
    except UnsupportedValue:
        return repr(value)


def names_of(kind: type[Any]) -> list[str]:
    """The keys of a session that a type has fields for. Raises `ConfigError` for a type that is none of the three."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if _is_struct(kind):
        return list(kind.__struct_encode_fields__)
    if not hasattr(kind, "model_validate"):
        message = f"view({kind.__name__}): the type must be a dataclass, a msgspec.Struct or a pydantic model"
        raise ConfigError(message)
    return sorted(_aliases(kind))


def build(kind: type[T], data: dict[str, Any]) -> T:
    """An object of a type that `names_of` knows, from the keys that it has."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, data)
    if _is_struct(kind):
        built: T = sys.modules["msgspec"].convert(data, kind, strict=False, from_attributes=False)
        return built
    model: Any = kind
    names = _aliases(model)
    known: T = model.model_validate({key: value for key, value in data.items() if key in names})
    return known


def to_mapping(view: Any) -> dict[str, Any]:
    """The fields of an object that `build` made, as plain values."""
    kind = type(view)
    if dataclasses.is_dataclass(kind):
        return {field.name: _plain(getattr(view, field.name)) for field in dataclasses.fields(kind)}
    if _is_struct(kind):
        return {
            encoded_name: _plain(getattr(view, name))
            for name, encoded_name in zip(view.__struct_fields__, view.__struct_encode_fields__, strict=True)
        }
    dumped: dict[str, Any] = view.model_dump(by_alias=True)
    return dumped


def _is_struct(kind: type) -> bool:
    # A Struct can only exist where msgspec was imported: the core need not depend on it.
    module = sys.modules.get("msgspec")
    return module is not None and issubclass(kind, module.Struct)


def _aliases(kind: Any) -> set[str]:
    fields = kind.model_fields
    return set(fields) | {field.alias for field in fields.values() if field.alias}


def _build_dataclass(kind: type[T], data: dict[str, Any]) -> T:
    hints = get_type_hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.init and field.name in data:
            arguments[field.name] = _nested(hints[field.name], data[field.name])
    return kind(**arguments)


def _nested(hint: Any, value: Any) -> Any:
    if isinstance(value, dict) and isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _build_dataclass(hint, value)
    arguments: Any = getattr(hint, "__args__", ())
    if isinstance(value, list) and getattr(hint, "__origin__", None) is list:
        return [_nested(arguments[0], item) for item in value]
    if isinstance(value, dict) and getattr(hint, "__origin__", None) is dict:
        return {key: _nested(arguments[1], item) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if dataclasses.is_dataclass(kind) or _is_struct(kind):
        return to_mapping(value)
    if kind is list:
        return [_plain(item) for item in value]
    if kind is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value


@cache
def pydantic_serializer() -> Any:
    """How pydantic writes a session: as the plain dict of what it holds."""
    from pydantic_core import SchemaSerializer, core_schema

    return SchemaSerializer(
        core_schema.any_schema(serialization=core_schema.plain_serializer_function_ser_schema(dict))
    )
