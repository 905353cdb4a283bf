"""What a value may be, in words: for query parameters and settings alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = {"integer": "a whole number", "number": "a number", "string": "text in UTF-8"}


def allowed(schema: Mapping[str, Any]) -> str:
    """Say what a JSON schema allows, besides nothing at all.

    Example:
        ``{"type": "integer", "minimum": 1, "maximum": 64}`` is "a whole number from 1 to 64".
    """
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    *words, last = [word for option in options for word in _words(option)]
    return f"{', '.join(words)} or {last}" if words else last


def _words(schema: Mapping[str, Any]) -> list[str]:
    match schema:
        case {"const": value}:
            return [str(value)]
        case {"enum": among}:
            return list(map(str, among))
        case {"type": "boolean"}:
            return ["true", "false"]
        case {"type": "array", "items": items}:
            return [f"{allowed(items)}, separated by commas"]
    return [_KINDS[schema["type"]] + _bounds(schema)]


def _bounds(schema: Mapping[str, Any]) -> str:
    match schema:
        case {"minimum": low, "maximum": high}:
            return f" from {low} to {high}"
        case {"exclusiveMinimum": low, "maximum": high}:
            return f" above {low} and at most {high}"
        case {"minimum": low}:
            return f", at least {low}"
        case {"minLength": 1}:
            return " of at least one character"
    return ""
