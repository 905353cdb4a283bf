"""Query strings: read, refused and described in one place."""

from __future__ import annotations

from collections import Counter
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app import values
from app.errors import InvalidParameter

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def _digits(text: str) -> str:
    if not text.isdecimal():
        raise ValueError("not in digits")
    return text


Count = Annotated[int, Field(ge=1), BeforeValidator(_digits)]
"""A positive whole number in digits; pydantic itself takes ``1.0``, ``+1`` and ``1_0`` as well."""

Name = Annotated[str, Field(min_length=1)]
"""A name; the parameter may be left out, but must not be empty."""


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out null, by which pydantic describes a parameter that may be absent."""
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    options = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    return rest | (options[0] if len(options) == 1 else {"anyOf": options} if options else {})


class Query(BaseModel):
    """Query parameters of a route, each of which may be left out.

    Read by ourselves, and not by FastAPI, which takes the last of several values and answers in pydantic's words.
    """

    model_config = ConfigDict(extra="forbid")

    @classmethod
    @lru_cache(maxsize=64)  # clients ask the same again and again
    def parse(cls, query: bytes) -> Self:
        """Read a query string.

        Raises:
            InvalidParameter: A parameter is unknown or given twice, or its value is not allowed.
        """
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        given = dict(pairs)
        if len(given) < len(pairs):
            name, times = Counter(name for name, _ in pairs).most_common(1)[0]
            raise InvalidParameter(f"query parameter {name[:80]!r}: it is given {times} times; give it once")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise InvalidParameter(cls._explain(error.errors()[0])) from None

    @classmethod
    def described(cls) -> list[dict[str, Any]]:
        """Describe the parameters for the OpenAPI document."""
        return [
            {"name": name, "in": "query", "required": False, "description": schema["description"], "schema": schema}
            for name, schema in cls._schemas().items()
        ]

    @classmethod
    def _explain(cls, error: ErrorDetails) -> str:
        name = str(error["loc"][0])
        if name not in cls.model_fields:
            there = ", ".join(cls.model_fields)
            return f"query parameter {name[:80]!r}: there is no such parameter; there are {there}"
        took = values.allowed(cls._schemas()[name])
        return f"query parameter {name!r}: it takes {took}, not {error['input'][:80]!r}"

    @classmethod
    @cache
    def _schemas(cls) -> dict[str, dict[str, Any]]:
        return {name: _without_null(schema) for name, schema in cls.model_json_schema()["properties"].items()}
