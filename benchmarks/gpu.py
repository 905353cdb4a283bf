"""``python -m benchmarks.gpu [MODEL…]``: correctness and speed on a CUDA machine, with one command and no network.

For every model: the largest difference of every output to the CPU provider, for batches of every size, and of what
several threads get at once; images per second against the batch size; what it costs when sizes alternate; the ways of
feeding and the provider's options side by side, each with its difference; float16, where the artifact can be converted
or is one; several threads; the GPU's memory. Then the service itself is started on the device and asked over HTTP. What
cannot be measured is named with its reason, everything else goes on, and the report is written after each model.

Needs ONNX Runtime and NumPy alone; HTTP takes the service's packages, float16 takes ``pip install onnx sympy``. With
``--rehearse`` it goes through what it can on the CPU, so that the command is known to work before a GPU is rented.

Exit codes: 0 all was measured, 1 something could not be, 65 outputs differ by more than allowed, 66 there is no model,
69 CUDA cannot be used.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app import devices  # needs ONNX Runtime alone
from app.devices import CUDA, first_line, ort
from benchmarks.sidebyside import Bench

_OPTIONS = {
    "tensor cores": {"use_tf32": "1"},  # TF32 itself stays forbidden (app/devices.py), which the difference shows
    "channels last": {"prefer_nhwc": "1"},
    "cuDNN heuristic B": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
    "cuDNN fallback engines": {"cudnn_conv_algo_search": "DEFAULT"},
    "arena that doubles": {"arena_extend_strategy": "kNextPowerOfTwo"},
}
_WAYS = ("plain", "I/O binding", "I/O binding, input pinned")


class Report:
    """What was found so far; written whenever a part is done."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        self.found = {**head, "failed": {}}

    def add(self, path: tuple[str, ...], measure: Callable[[], Any]) -> None:
        """Measure one thing, print it, and keep it, or the reason why it could not be measured."""
        name = ", ".join(path)
        try:
            value = measure()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, the others are to go on
            text = f"{type(error).__name__}: {first_line(error)}"
            self.found["failed"][name] = text
            print(f"{name}: FAILED: {text}", flush=True)
        else:
            place = self.found
            for step in path[:-1]:
                place = place.setdefault(step, {})
            place[path[-1]] = value
            print(f"{name}: {json.dumps(_writable(value))}", flush=True)
        self._path.write_text(json.dumps(_writable(self.found), indent=1) + "\n")

    def worst_difference(self) -> float:
        """Largest difference of any model to the CPU, as it is served; infinite where none could be compared."""
        parities = [one["parity"] for one in self.found.get("models", {}).values() if "parity" in one]
        return max((max(*one["outputs"].values(), one["threads at once"]) for one in parities), default=float("inf"))


def _writable(value: Any) -> Any:
    """Say in words what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _writable(each) for name, each in value.items()}
    return "not finite" if isinstance(value, float) and not math.isfinite(value) else value


def _why_not() -> str | None:
    """Say what stands between ONNX Runtime and a GPU, and what to install."""
    if (reason := devices.why_no_cuda()) is not None:
        return reason
    missing = devices.missing_library()
    return missing and f"{missing}; {devices.INSTALL}"


def main() -> int:
    """Measure, print and keep; returns the exit code."""
    arguments = _arguments()
    if not arguments.models:
        print("error: there is no model below models/; name some", file=sys.stderr)
        return 66
    if not arguments.rehearse and (reason := _why_not()) is not None:
        print(f"error: {reason}; --rehearse goes through it on the CPU", file=sys.stderr)
        return 69
    report = Report(arguments.output, {"rehearsal": arguments.rehearse, "onnxruntime": ort.__version__})
    report.add(("machine",), _machine)
    benches: dict[str, Bench] = {}
    for file in arguments.models:
        _examine(report, file, arguments, benches)
    for root in dict.fromkeys(file.parents[2] for file in arguments.models if len(file.parts) > 3):
        report.add(("HTTP", str(root)), lambda root=root: over_http(root, arguments))
    if not arguments.rehearse:
        for name, bench in benches.items():  # last, because what goes wrong here may spoil all that follows
            report.add(("models", name, "ways", "CUDA graph"), lambda bench=bench: bench.way("CUDA graph"))
    worst = report.worst_difference()
    print(f"\nlargest difference as served: {worst:g} (allowed {arguments.tolerance:g}); report: {arguments.output}")
    for name, text in report.found["failed"].items():
        print(f"not measured: {name}: {text}")
    if not worst <= arguments.tolerance:
        return 65
    return 1 if report.found["failed"] else 0


def _examine(report: Report, file: Path, arguments: argparse.Namespace, benches: dict[str, Bench]) -> None:
    """Measure everything about one model except CUDA graphs; adds it to ``benches`` if it can be run at all."""

    def add(*path: str, measure: Callable[[], Any]) -> None:
        report.add(("models", str(file), *path), measure)

    def parity() -> dict[str, Any]:
        bench = Bench(file, on_gpu=not arguments.rehearse, largest=arguments.largest, seconds=arguments.seconds)
        found = bench.parity()
        benches[str(file)] = bench
        return found

    add("parity", measure=parity)
    bench = benches.get(str(file))
    if bench is None:
        return
    add("images/s by batch size", measure=bench.sweep)
    add("ms of every batch size in turn", measure=bench.alternating)
    add("images/s of threads that share a session", measure=bench.threads)
    for way in _WAYS[: 2 if arguments.rehearse else None]:
        add("ways", way, measure=lambda way=way: bench.way(way))
    add("ways", "float16", measure=bench.float16)
    if not arguments.rehearse:
        add("ways", "float16 without tensor cores", measure=lambda: bench.float16({"use_tf32": "0"}))
        for option, chosen in _OPTIONS.items():
            add("options", option, measure=lambda chosen=chosen: bench.option(chosen))
        add("MB of the GPU", measure=bench.memory)


def over_http(root: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask the service on the device, over several connections, for answers to one image of each model's size.

    Returns:
        Per model and number of connections: requests answered per second, and the milliseconds within which half and
        99 % of them were.

    Raises:
        ImportError: The service is not installed here.
        RuntimeError: It runs elsewhere, or a request failed.
    """
    from benchmarks import load, pictures  # noqa: PLC0415  # all else does without the service
    from benchmarks.service import serving  # noqa: PLC0415  # the same

    found: dict[str, Any] = {}
    device, provider = ("cpu", "CPUExecutionProvider") if arguments.rehearse else ("cuda", CUDA)
    start = time.monotonic()
    with serving(str(root), DEVICE=device) as service:
        found["seconds to ready"] = round(time.monotonic() - start, 1)
        served = service.get("/models")["models"]
        if {one["execution_provider"] for one in served} != {provider}:
            raise RuntimeError(f"not every model runs on {provider}: {served}")
        for one in served:
            size = one["input"]
            request = load.post(f"/predict?model={one['name']}", pictures.jpeg(size["width"], size["height"], 2))
            for connections in (1, 16, 64):
                began = time.monotonic()
                end = began + arguments.seconds
                outcome = load.closed(service.port, request, connections, lambda so_far, end=end: _go_on(so_far, end))
                if set(outcome.statuses) != {200} or outcome.failures:
                    raise RuntimeError(f"{one['name']}, {connections} connections: {outcome}")
                found[f"{one['name']}, {connections} connections"] = {
                    "requests/s": round(outcome.statuses[200] / (time.monotonic() - began)),
                    "p50, p99 ms": [round(1000 * outcome.percentile(200, share), 1) for share in (0.5, 0.99)],
                }
    return found


def _go_on(so_far: Any, end: float) -> bool:
    return time.monotonic() < end or not (so_far.statuses or so_far.failures)


def _machine() -> dict[str, str]:
    """What the figures were measured on."""
    found = {"processor": platform.processor() or platform.machine(), "cores": str(os.cpu_count())}
    asked = "name,driver_version,memory.total,compute_cap,clocks.max.sm,power.limit"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found["gpu"] = done.stdout.strip()
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    files = sorted(Path("models").glob("*/*/model.onnx"))
    add("models", nargs="*", type=Path, default=files, help="model.onnx files (default: all in ./models)")
    add("--rehearse", action="store_true", help="run everything possible on the CPU, without a GPU")
    add("--tolerance", type=float, default=1e-4, help="largest difference from the CPU allowed (default: %(default)s)")
    add("--largest", type=int, default=128, help="largest batch (default: %(default)s)")
    add("--seconds", type=float, default=1.0, help="time for each speed (default: %(default)s)")
    add("--output", type=Path, default=Path("gpu.json"), help="JSON file (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
