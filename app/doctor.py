"""``python -m app doctor``: check everything that the service depends on, and say what to do.

One finding per line, with advice if there is something to do. The exit code is the one with which the service itself
would refuse to start, or 0; warnings do not count. A port in use is a warning: this service may be the one using it.
Every version is first loaded in a process of its own, so that this command ends where the service would hang.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Literal, NamedTuple

import onnxruntime as ort
import orjson

from app import apikeys, cores, devices, starting
from app.errors import CannotListen, DeviceUnavailable, HarmfulArtifact, MultipoolError, NothingToServe, PortInUse
from app.registry.artifacts import Found
from app.registry.loading import Loader
from app.registry.misplaced import passed_over
from app.server import listening
from app.settings import PREFIX, Settings

Level = Literal["ok", "warning", "failure"]

_FILES_PER_CONNECTION = 2
_REMOVE = "remove it, or export it again"
_TO_USE_A_GPU = (
    "to use a GPU: NVIDIA's driver (see nvidia-smi) and deploy/requirements/serve-cuda.txt; "
    "in Docker, docker-compose.gpu.yml"
)


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str
    advice: str = ""
    error: MultipoolError | None = None
    """What the service would end with."""


def run(*, json: bool) -> MultipoolError | None:
    """Print the findings; returns the first error that would stop the service."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not json:
            advice = f"\n{'':22}→ {finding.advice}" if finding.advice else ""
            print(f"{finding.level:8} {finding.subject:12} {finding.text}{advice}", flush=True)
    if json:
        fields = ("level", "subject", "text", "advice")
        document = [{name: getattr(finding, name) for name in fields} for finding in findings]
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    return next((finding.error for finding in findings if finding.error is not None), None)


def examine() -> Iterator[Finding]:
    """Look at one thing after the other; without sound settings there is nothing else to look at."""
    try:
        settings = Settings.load()
    except MultipoolError as error:
        yield Finding("failure", "settings", str(error), error=error)
        return
    try:
        apikeys.read(settings)
    except MultipoolError as error:
        yield Finding("failure", "keys", str(error), error=error)
    yield _packages(_installed())
    yield _device(settings)
    yield from _cuda()
    yield _port(settings)
    yield _cores(settings)
    yield _files(settings)
    yield from _models(settings)


def _installed() -> dict[str, str]:
    """Versions of the ONNX Runtime packages that are installed."""
    names = ("onnxruntime", "onnxruntime-gpu")
    return {one.name: one.version for one in metadata.distributions() if one.name in names}


def _packages(installed: dict[str, str]) -> Finding:
    text = ", ".join(f"{name} {version}" for name, version in sorted(installed.items()))
    providers = ", ".join(ort.get_available_providers())
    if len(installed) > 1:
        advice = f"they overwrite each other's files: uninstall both, then {devices.INSTALL}"
        return Finding("warning", "onnxruntime", f"{text} are both installed ({providers})", advice)
    return Finding("ok", "onnxruntime", f"{text} ({providers})")


def _device(settings: Settings) -> Finding:
    reason = devices.why_no_cuda()
    if reason is None:
        if settings.device == "cpu":
            return Finding("warning", "device", "cpu, although there is a GPU", f"unset {PREFIX}DEVICE to use it")
        return Finding("ok", "device", f"{settings.device}: CUDA")
    if settings.device == "cuda":
        error = DeviceUnavailable(f"CUDA cannot be used: {reason}")
        return Finding("failure", "device", str(error), f"{_TO_USE_A_GPU}; or set {PREFIX}DEVICE=cpu", error)
    if settings.device == "cpu":
        return Finding("ok", "device", "cpu: the CPU")
    return Finding("ok", "device", f"{settings.device}: the CPU, {reason}", _TO_USE_A_GPU)


def _cuda() -> Iterator[Finding]:
    """Say what the GPU is, what the driver can do, and what the wheel was built for; nothing where there is no GPU."""
    if devices.why_no_cuda() is not None:
        return
    driver, wheel = devices.driver_version(), devices.built_for()
    text = f"driver up to CUDA {driver[0]}.{driver[1]}, onnxruntime built for CUDA {wheel or 'unknown'}"
    yield Finding("ok", "cuda", f"{devices.gpu()}, {text}")
    missing = devices.missing_library()
    if missing is not None:
        yield Finding("warning", "libraries", missing, f"{devices.INSTALL}, which brings them")
    else:
        yield Finding("ok", "libraries", "CUDA and cuDNN load")


def _port(settings: Settings) -> Finding:
    try:
        with listening.bind(settings.host, settings.port) as listener:
            return Finding("ok", "port", f"{listening.address(listener)} is free")
    except PortInUse as error:
        text = str(error).partition(";")[0]
        advice = f"fine if this service is already running; otherwise stop what listens there, or set {PREFIX}PORT"
        return Finding("warning", "port", text, advice)
    except CannotListen as error:
        return Finding("failure", "port", str(error), error=error)


def _cores(settings: Settings) -> Finding:
    usable, there = cores.available(), os.cpu_count() or 1
    text = f"{usable} of {there} usable, {settings.workers} worker{'' if settings.workers == 1 else 's'}"
    if settings.workers > usable:
        advice = f"set {PREFIX}WORKERS to {usable} or less, or allow the container more processors"
        return Finding("warning", "cores", text, advice)
    return Finding("ok", "cores", text)


def _files(settings: Settings) -> Finding:
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_PER_CONNECTION * settings.max_connections
    text = f"{'no limit' if allowed == resource.RLIM_INFINITY else allowed} open files allowed"
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        advice = f"raise it to {needed} (ulimit -n), or lower {PREFIX}MAX_CONNECTIONS"
        return Finding("warning", "files", text, advice)
    return Finding("ok", "files", text)


def _models(settings: Settings) -> Iterator[Finding]:
    """Load every version, and say where it really runs, or what the service would do without it."""
    try:
        found = starting.check(settings.models_dir, settings.default_model, settings.device)
    except DeviceUnavailable as error:  # it would send its reader here; what to do was said above
        yield Finding("failure", "models", "not loaded, because the device cannot be used", error=error)
        return
    except MultipoolError as error:
        yield Finding("failure", "models", str(error), error=error)
        return
    for why in passed_over(settings.models_dir):
        text, _, advice = why.rpartition("; ")
        yield Finding("warning", "models", text, advice)
    loader = Loader.of(settings, cores.available())
    loaded = [(one, _load(one, loader)) for one in found]
    sound = {one.name for one, said in loaded if isinstance(said, str)}
    for one, said in loaded:
        text = f"{one.reference}: {said}"
        if isinstance(said, str):
            yield Finding("ok", "model", text)
        elif isinstance(said, DeviceUnavailable):
            yield Finding("failure", "model", text, error=said)  # whatever else there is; it says itself what to do
        elif isinstance(said, HarmfulArtifact) and settings.require_all_models:  # the service tries nothing first
            yield Finding("failure", "model", f"{text}; the service may hang or crash with it", _REMOVE, said)
        elif (sound and not settings.require_all_models) or (
            one.name in sound and one.reference != settings.default_model
        ):
            yield Finding("warning", "model", f"{text}; it is skipped", _REMOVE)
        else:
            ends_with = said if settings.require_all_models else NothingToServe(text)
            yield Finding("failure", "model", text, _REMOVE, ends_with)
    served = {name for one, said in loaded if isinstance(said, str) for name in (one.name, one.reference)}
    if sound and not settings.require_all_models and settings.default_model not in {None, *served}:
        text = f"{settings.default_model} cannot be served, so requests that name no model are refused"
        yield Finding("warning", "default", text, f"set {PREFIX}DEFAULT_MODEL to another")


def _load(found: Found, loader: Loader) -> str | MultipoolError:
    """Say what a model is, or why it cannot be served; it is not kept."""
    try:
        model, _ = loader.open(found.path, frozenset())
    except MultipoolError as error:
        return error
    size = "×".join(map(str, model.shape))
    return f"{size}, {len(model.metadata.labels)} classes, on {model.execution_provider}"
