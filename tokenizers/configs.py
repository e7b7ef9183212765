"""Configs: frozen dataclasses <-> plain dictionaries (JSON, TOML).

An unknown key is an error that names the nearest known one. A field whose type is a union of configs is told apart by `kind`, a
class attribute of each.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from typing import Any, TypeVar

from smalti.tokenizers.errors import UsageError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dictionary of a config, nested configs and their `kind` included; tuples become lists."""
    out: dict[str, Any] = {"kind": config.kind} if hasattr(config, "kind") else {}
    for field in dataclasses.fields(config):
        out[field.name] = _plain(getattr(config, field.name))
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_dict(value) if dataclasses.is_dataclass(value) else value


def canonical_json(config: Any) -> str:
    """The one spelling of a config that fingerprints are made from: sorted keys, no spaces."""
    return json.dumps(to_dict(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """A config of class `cls` from a dictionary; `where` names it in errors (UsageError)."""
    if not isinstance(data, dict):
        raise UsageError(f"{where} must be a table of keys, found {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    kind = getattr(cls, "kind", None)
    values = {}
    for key, value in data.items():
        if key == "kind" and kind is not None:
            if value != kind:
                raise UsageError(f"{where}.kind is {value!r}, expected {kind!r}")
            continue
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(fields))}"
            raise UsageError(f"{where} has no key {key!r}; {hint}")
        values[key] = _convert(hints[key], value, f"{where}.{key}")
    missing = [n for n, f in fields.items() if n not in values and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert_union([a for a in arguments if a is not type(None)], value, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where} must be a list, found {value!r}")
        fixed = arguments[-1:] != (Ellipsis,)
        if fixed and len(value) != len(arguments):
            raise UsageError(f"{where} must have {len(arguments)} entries, found {value!r}")
        return tuple(_convert(arguments[i if fixed else 0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise UsageError(f"{where} must be a table of keys, found {value!r}")
        return {str(k): _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise UsageError(f"{where} must be {hint.__name__}, found {value!r}")
    return value


def _convert_union(members: list[Any], value: Any, where: str) -> Any:
    if any(dataclasses.is_dataclass(m) and isinstance(value, m) for m in members):  # type: ignore[arg-type]
        return value
    lists = [m for m in members if typing.get_origin(m) is tuple]
    if lists and isinstance(value, list | tuple):
        return _convert(lists[0], value, where)
    kinds = {m.kind: m for m in members if hasattr(m, "kind")}
    if not kinds:
        return _convert(members[0], value, where) if len(members) == 1 else value
    found = value.get("kind") if isinstance(value, dict) else None
    if found not in kinds:
        near = difflib.get_close_matches(str(found), kinds, 1)
        raise UsageError(f"{where}.kind is {found!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(kinds))}"))
    return from_dict(kinds[found], value, where)
