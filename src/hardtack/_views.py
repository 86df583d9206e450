"""`session.view(Type)`: session data as a `msgspec.Struct`, a dataclass or a pydantic model, and back."""

from __future__ import annotations

import dataclasses
import sys
from functools import cache
from typing import Any, NoReturn, TypeVar, get_type_hints

from hardtack import values
from hardtack.errors import ConfigError, UnsupportedValue

T = TypeVar("T")


class View:
    """An object that a session keeps, and which of its fields the application has changed."""

    __slots__ = ("_kind", "_known", "object")

    def __init__(self, kind: type[Any], data: dict[str, Any]) -> None:
        self._kind = kind
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

    def follow(self, data: dict[str, Any]) -> None:
        """Show what the session holds by now, in the same object, which the application may hold and change later.

        What does not fit the type by now is not shown; an object that cannot be changed is replaced.
        """
        names = names_of(self._kind)
        try:
            fresh = build(self._kind, {name: data[name] for name in names if name in data})
        except Exception:  # what the type raises: it was made of other data when it was asked for
            return
        attributes = attributes_of(self._kind)
        mapping = to_mapping(fresh)
        for name, attribute in attributes.items():
            encoding = _encoding(mapping[name])
            if self._known.get(name) == encoding:
                continue
            self._known[name] = encoding
            try:
                _assign(self.object, attribute, getattr(fresh, attribute))
            except AttributeError:  # frozen
                self.object = fresh


def _assign(view: Any, name: str, value: Any) -> None:
    if hasattr(type(view), "model_fields"):  # past validate_assignment: all of it was validated just now
        view.__dict__[name] = value
        view.__pydantic_fields_set__.add(name)
    else:
        setattr(view, name, value)


def _encoding(value: Any) -> bytes | str:
    """What two equal values share. What cannot be kept (a type of the application's own) counts when it is changed."""
    try:
        return values.pack({"": value})
    except UnsupportedValue:
        return repr(value)


def names_of(kind: type[Any]) -> list[str]:
    """The keys of a session that a type reads. Raises `ConfigError` for a type that is none of the three."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if _is_struct(kind):
        return list(kind.__struct_encode_fields__)
    if not hasattr(kind, "model_validate"):
        message = f"view({kind.__name__}): the type must be a dataclass, a msgspec.Struct or a pydantic model"
        raise ConfigError(message)
    return sorted({key for keys in _keys_of_model(kind).values() for key in keys})


def attributes_of(kind: type[Any]) -> dict[str, str]:
    """The attribute of each key that a type writes."""
    if dataclasses.is_dataclass(kind):
        return {field.name: field.name for field in dataclasses.fields(kind)}
    if _is_struct(kind):
        return dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    return {keys[0]: name for name, keys in _keys_of_model(kind).items()}


def build(kind: type[T], data: dict[str, Any]) -> T:
    """An object of a type that `names_of` knows, from the keys that it has."""
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, data)
    if _is_struct(kind):
        built: T = sys.modules["msgspec"].convert(data, kind, strict=False, from_attributes=False)
        return built
    model: Any = kind
    present = [[key for key in keys if key in data] for keys in _keys_of_model(model).values()]
    known: T = model.model_validate({keys[0]: data[keys[0]] for keys in present if keys})
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
    read, fields = _keys_of_model(kind), kind.model_fields
    keys = {fields[name].serialization_alias or name: names[0] for name, names in read.items()}
    dumped: dict[str, Any] = view.model_dump(by_alias=True)
    return {keys.get(name, name): value for name, value in dumped.items()}


def _is_struct(kind: type) -> bool:
    # A Struct can only exist where msgspec was imported: the core need not depend on it.
    module = sys.modules.get("msgspec")
    return module is not None and issubclass(kind, module.Struct)


def _keys_of_model(kind: Any) -> dict[str, list[str]]:
    """The keys that each field of a model is read from; the first is the one that it is written under, so that both agree."""
    config = kind.model_config
    by_alias = config.get("validate_by_alias") is not False
    by_name = bool(config.get("populate_by_name") or config.get("validate_by_name")) or not by_alias
    keys: dict[str, list[str]] = {}
    for name, field in kind.model_fields.items():
        alias = (field.validation_alias or field.alias) if by_alias else None
        choices = [] if alias is None else list(getattr(alias, "choices", [alias]))
        texts = [choice for choice in choices if isinstance(choice, str)]
        if len(texts) < len(choices) and not texts:
            message = (
                f"view({kind.__name__}): {name!r} is read from a part of a key (AliasPath), and could not be written back; "
                "give it a key of its own"
            )
            raise ConfigError(message)
        keys[name] = [*texts, *([name] if by_name or not texts else [])]
    return keys


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


@cache
def refusing_serializer() -> Any:
    """How pydantic writes what is not loaded of a session that it reads as a dict, past its methods: not at all."""
    from pydantic_core import SchemaSerializer, core_schema

    def refuse(value: object) -> NoReturn:
        raise TypeError("a session was read past its methods: give pydantic dict(session)")

    return SchemaSerializer(
        core_schema.any_schema(serialization=core_schema.plain_serializer_function_ser_schema(refuse))
    )
