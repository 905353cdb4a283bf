"""Settings: read once, from the environment, under one prefix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import InvalidSettings
from app.images import MAX_PIXELS

PREFIX = "MULTIPOOL_"


class Settings(BaseSettings):
    """What an operator can set; every name takes the prefix ``MULTIPOOL_`` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, use_attribute_docstrings=True
    )

    models_dir: Path = Path("models")
    """Folder of the model repository: `<name>/<version>/model.onnx`."""
    default_model: str | None = None
    """Model that answers when a request names none, `name` or `name:version`; unset: the first by name."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where models run: `auto`, `cuda` or `cpu`; `cuda` never falls back: the start fails with exit code 69."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port."""
    max_batch_size: int = Field(default=32, ge=1, le=1024)
    """Most images that one run of a model takes."""
    max_batch_delay_ms: float = Field(default=0, ge=0, le=1000)
    """How long an image may wait for others to fill its batch; 0: a batch goes out as soon as the model is free."""
    queue_size: int = Field(default=256, ge=1, le=100_000)
    """Images that may be in work at once; more are refused at once with 503."""
    request_timeout_s: float = Field(default=60, gt=0, le=3600)
    """Time for a request, its upload included; what takes longer is answered with 504."""
    max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    """Largest request body."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=178_956_970)
    """Largest height × width of an image, checked before it is decoded; the upper bound is Pillow's own."""
    max_files: int = Field(default=64, ge=1, le=10_000)
    """Most files in one batch request."""
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Keys, separated by commas, one of which every request but health checks must carry; unset: none is asked for."""
    api_keys_file: Path | None = None
    """File with one key per line, added to the above."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important messages to log: `debug`, `info`, `warning` or `error`."""
    log_format: Literal["text", "json"] = "text"
    """`text` for people, or `json`, one object per line."""

    @model_validator(mode="before")
    @classmethod
    def _split_keys(cls, values: dict[str, Any]) -> dict[str, Any]:
        keys = values.get("api_keys")
        if isinstance(keys, str):
            values = {**values, "api_keys": [key.strip() for key in keys.split(",") if key.strip()]}
        return values

    @model_validator(mode="after")
    def _queue_holds_a_request(self) -> Self:
        if self.queue_size < self.max_files:
            raise ValueError(
                f"{PREFIX}QUEUE_SIZE = {self.queue_size} cannot be smaller than {PREFIX}MAX_FILES = {self.max_files}"
            )
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the settings from the environment.

        Raises:
            InvalidSettings: A name is unknown or a value is not allowed; one line that says which and why.
        """
        unknown = sorted(
            name
            for name in os.environ
            if name.startswith(PREFIX) and name[len(PREFIX) :].lower() not in cls.model_fields
        )
        if unknown:
            raise InvalidSettings(f"unknown setting {unknown[0]}; the settings are listed by 'python -m app --help'")
        try:
            settings = cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            name = PREFIX + str(first["loc"][0]).upper() + " " if first["loc"] else ""
            value = f"= {first['input']!r}: " if first["loc"] and "api_keys" not in first["loc"] else ""
            raise InvalidSettings(f"{name}{value}{first['msg'].removeprefix('Value error, ')}") from None
        if f"{PREFIX}API_KEYS" in os.environ and not settings.api_keys:
            # An empty secret must not open the service.
            raise InvalidSettings(f"{PREFIX}API_KEYS is set but holds no key; unset it to ask for none")
        return settings

    def keys(self) -> tuple[bytes, ...]:
        """Collect the API keys from the environment and the file.

        Raises:
            InvalidSettings: The file cannot be read, or holds no key.
        """
        keys = [key.get_secret_value() for key in self.api_keys]
        if self.api_keys_file is not None:
            try:
                lines = [line.strip() for line in self.api_keys_file.read_text().splitlines()]
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "not a text file"
                raise InvalidSettings(f"{PREFIX}API_KEYS_FILE = {str(self.api_keys_file)!r}: {reason}") from None
            found = [line for line in lines if line and not line.startswith("#")]
            if not found:
                raise InvalidSettings(f"{PREFIX}API_KEYS_FILE = {str(self.api_keys_file)!r}: the file holds no key")
            keys += found
        return tuple(key.encode() for key in keys)
