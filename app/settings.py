"""Settings: read once, from the environment, under one prefix."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from app import interpreter, values
from app.errors import InvalidSettings
from app.images import MAX_PIXELS

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "MULTIPOOL_"
_SECRETS = ("api_keys", "admin_key")
SHORTEST_KEY = 16
"""Characters below which the admin key is refused, and an API key is warned of."""
_ORIGIN = re.compile(
    r"(?!http://[^:]*:80$)(?!https://[^:]*:443$)[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?"
)


class Settings(BaseModel):
    """What an operator can set; every name takes the prefix ``MULTIPOOL_`` in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    models_dir: Path = Path("models")
    """Folder of the model repository: `<name>/<version>/model.onnx`."""
    default_model: str | None = None
    """Model that answers when a request names none: `name` or `name:version`; unset: the first by name."""
    models_poll_s: float = Field(default=1, ge=0, le=3600)
    """Seconds between checks for published or deleted versions; 0: never check."""
    models_memory_bytes: int | None = Field(default=None, ge=1)
    """Memory for models per process; if full, the least recently used are unloaded; unset: half the RAM ÷ workers."""
    require_all_models: bool = True
    """If no version of a model can be served, the start fails; `false`: it serves the other models."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where models run: `auto`, `cuda` or `cpu`; `cuda` never falls back: the start fails with exit code 69."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0: any free port."""
    workers: int = Field(default=1, ge=1, le=64)
    """Number of processes that share the port."""
    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Largest number of images that a model processes at once."""
    max_batch_delay_ms: float = Field(default=0, ge=0, le=60_000)
    """Longest wait of an image for others to fill its batch; 0: a batch starts as soon as the model is free."""
    queue_size: int = Field(default=256, ge=1, le=100_000)
    """Images in progress at once, in each process; more are rejected immediately with 503."""
    request_timeout_s: float = Field(default=60, gt=0, le=3600)
    """Time limit for a request, including its upload; after that it is answered with 504."""
    cached_answers: int = Field(default=0, ge=0, le=10_000_000)
    """Answers cached in each process, by model version and the SHA-256 of the image's bytes; 0: no cache."""
    max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    """Largest request body."""
    uploads_memory_bytes: int | None = Field(default=None, ge=1)
    """Memory for uploads per process; beyond it, they are rejected with 503; unset: a quarter of the RAM ÷ workers."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=178_956_970)
    """Largest height × width of an image, checked before decoding; Pillow's own limit is the upper bound."""
    max_files: int = Field(default=64, ge=1, le=10_000)
    """Largest number of files in one batch request."""
    min_confidence: float = Field(default=0, ge=0, le=1)
    """Lowest probability at which an answer names a label, unless the request sets another; 0: always name it."""
    max_connections: int = Field(default=1024, ge=1, le=60_000)
    """Open connections in each process; beyond that, an idle one is closed, or else the new one gets 503."""
    keep_alive_s: int = Field(default=5, ge=1, le=3600)
    """Seconds an idle connection stays open; behind a proxy, set it longer than the proxy's (nginx: 60)."""
    lame_duck_s: float = Field(default=2, ge=0, le=300)
    """Seconds to keep serving after SIGTERM while reporting not ready, so that clients leave; 0 can lose requests."""
    shutdown_timeout_s: float = Field(default=20, ge=0, le=3600)
    """Seconds that requests in progress then have to finish before they are cut off."""
    rate_limit: float | None = Field(default=None, ge=1e-6)
    """Requests per second per valid key (or address) in all workers, except health, pages, metrics; unset: no limit."""
    cors_origins: tuple[str, ...] = ()
    """Origins, comma-separated, whose pages may call the service from a browser; unset: none; `*`: all."""
    api_keys: tuple[SecretStr, ...] = ()
    """Keys, comma-separated; every request except health and pages needs one; unset: no key is needed."""
    api_keys_file: Path | None = None
    """File with one key per line (`#` begins a comment), in addition to `MULTIPOOL_API_KEYS`."""
    admin_key: SecretStr | None = None
    """Key (at least 16 characters) for `/v2/repository`, which loads and unloads models; unset: no such route."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged: `debug`, `info`, `warning` or `error`."""
    log_format: Literal["text", "json"] = "text"
    """`text` for people, or `json`, one object per line."""

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in ("api_keys", "cors_origins"):
            if isinstance(text := given.get(name), str):
                given = {**given, name: [part.strip() for part in text.split(",") if part.strip()]}
        return given

    @field_validator("cors_origins")
    @classmethod
    def _as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"holds {origin!r}, which no browser sends; an origin is scheme://host or scheme://host:port, in "
                    "lower case, without path or default port, as in https://shop.example; or *"
                )
        return origins

    @field_validator("admin_key")
    @classmethod
    def _long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"needs at least {SHORTEST_KEY} characters")
        return key

    @model_validator(mode="after")
    def _there_is_room_for_a_request(self) -> Self:
        for room, largest in (("queue_size", "max_files"), ("uploads_memory_bytes", "max_upload_bytes")):
            has, needs = getattr(self, room), getattr(self, largest)
            if has is not None and has < needs:
                raise ValueError(
                    f"{PREFIX}{room.upper()} = {has} cannot be smaller than {PREFIX}{largest.upper()} = {needs}"
                )
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            InvalidSettings: A name is unknown or a value is not allowed; one line that says which and why.
        """
        given = {
            name[len(PREFIX) :].lower(): os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIX)
        }
        if link := next((name for name in given if name.endswith("service_host")), None):
            service = f"{PREFIX}{link}".lower().removesuffix("_service_host").replace("_", "-")
            raise InvalidSettings(
                f"{PREFIX}{link.upper()} is no setting: Kubernetes sets it and others like it for the Service named "
                f"{service!r}; put 'enableServiceLinks: false' into the pod's spec, or give the Service another name"
            )
        if unknown := [name for name in given if name not in cls.model_fields]:
            near = get_close_matches(unknown[0], cls.model_fields, n=1)
            meant = f"did you mean {PREFIX}{near[0].upper()}? " if near else ""
            raise InvalidSettings(
                f"unknown setting {PREFIX}{unknown[0].upper()}; {meant}"
                f"the settings are listed by '{interpreter.command()} -m app --help'"
            )
        try:
            # An empty value is as good as none: Compose passes on what is unset so.
            settings = cls.model_validate({name: value for name, value in given.items() if value})
        except ValidationError as error:
            raise InvalidSettings(cls._explain(error.errors(include_url=False, include_context=False)[0])) from None
        for name, held in (("api_keys", "key"), ("api_keys_file", "name of a file")):
            if name in given and not getattr(settings, name):
                # An empty secret must not open the service.
                raise InvalidSettings(
                    f"{PREFIX}{name.upper()} is set but holds no {held}; unset it if no key is needed"
                )
        return settings

    @classmethod
    def _explain(cls, error: ErrorDetails) -> str:
        field = str(error["loc"][0]) if error["loc"] else ""
        name = PREFIX + field.upper()
        if error["type"] == "value_error":  # said by a validator of ours
            return f"{f'{name} ' if field else ''}{error['msg'].removeprefix('Value error, ')}"
        came = "" if field in _SECRETS else f" = {error['input']!r}"
        return f"{name}{came}: it takes {values.allowed(cls.model_json_schema()['properties'][field])}"

    def given(self) -> str:
        """Write those that were set, as in the environment; secrets are masked."""
        there = ((name, written(getattr(self, name))) for name in sorted(self.model_fields_set))
        return " ".join(f"{PREFIX}{name.upper()}={text}" for name, text in there)


def written(value: object) -> str:
    """Write a value as it is set; nothing for what is unset."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
    return str(value)
