"""``python -m benchmarks.gpu [MODEL…]``: correctness and speed on a CUDA machine, with one command and no network.

For every model: the largest difference of every output to the CPU provider, over batches of every bucket; images per
second against the batch size; session options and ways of feeding side by side (plain, I/O binding with its input kept
in pinned memory, CUDA graph; float32 with and without TF32, float16 where there is such an artifact). Needs ONNX
Runtime and NumPy alone. Where the service itself is installed too, it is started on the device, and asked over HTTP.
With ``--rehearse`` it goes through what it can on the CPU, so that the command is known to work before a GPU is rented.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SECONDS = 1.0
_REPEATS = 3
_CUDA = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
_OPTIONS = {
    "as served": {},
    "TF32": {"use_tf32": "1"},
    "channels last": {"prefer_nhwc": "1"},
    "exhaustive search": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
}


class Feed:
    """One session and one way of handing it a batch."""

    def __init__(self, file: Path, options: dict[str, str] | None, *, bound: bool = False, graph: bool = False) -> None:
        """Open a session.

        Args:
            file: An artifact.
            options: Of the CUDA provider; None runs on the CPU.
            bound: Keep input and outputs in buffers of their own, the input in pinned memory.
            graph: Capture a CUDA graph per batch size; needs ``bound``.
        """
        chosen = {**_CUDA, **(options or {}), **({"enable_cuda_graph": "1"} if graph else {})}
        provider = "CPUExecutionProvider" if options is None else ("CUDAExecutionProvider", chosen)
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        self.session = ort.InferenceSession(file.read_bytes(), settings, providers=[provider])
        self.names = [one.name for one in self.session.get_outputs() if not one.name.startswith(("head_", "maps_"))]
        self.shape = self.session.get_inputs()[0].shape[1:]
        self._device = "cpu" if options is None else "cuda"
        self._bound, self._graph = bound, graph
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry("gpu_graph_id", "-1")

    def runner(self, batch: np.ndarray) -> Callable[[], list[np.ndarray]]:
        """Prepare for batches of one size; what is returned runs one."""
        if not self._bound:
            return lambda: self.session.run(self.names, {"image": batch})
        binding = self.session.io_binding()
        value = ort.OrtValue.ortvalue_from_numpy(batch, self._device, 0)
        binding.bind_ortvalue_input("image", value)
        for name in self.names:
            binding.bind_output(name, self._device)
        options = ort.RunOptions()
        if self._graph:
            options.add_run_config_entry("gpu_graph_id", str(len(batch)))

        def run() -> list[np.ndarray]:
            value.update_inplace(batch)
            self.session.run_with_iobinding(binding, options)
            return binding.copy_outputs_to_cpu()

        return run


def main() -> None:
    """Measure, print and keep."""
    arguments = _arguments()
    if not arguments.rehearse:
        ort.preload_dlls()
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise SystemExit("this onnxruntime has no CUDA provider; install onnxruntime-gpu, or use --rehearse")
    report = {"onnxruntime": ort.__version__, "rehearsal": arguments.rehearse, "models": {}}
    for file in arguments.models:
        print(f"\n{file}")
        found = report["models"][str(file)] = dict(_examine(file, rehearse=arguments.rehearse))
        print(json.dumps(found, indent=1))
    report["HTTP"] = over_http(arguments.models, rehearse=arguments.rehearse)
    print("\nHTTP", json.dumps(report["HTTP"], indent=1))
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    worst = max(difference for one in report["models"].values() for difference in one["largest difference"].values())
    if worst > arguments.tolerance:
        raise SystemExit(f"CUDA and CPU differ by {worst:g}, more than {arguments.tolerance:g}")
    print(f"\nlargest difference of all: {worst:g} (allowed {arguments.tolerance:g}); written to {arguments.output}")


def _examine(file: Path, *, rehearse: bool) -> Iterator[tuple[str, object]]:
    cpu = Feed(file, None)
    device: dict[str, str] | None = None if rehearse else {}
    served = Feed(file, device)
    used = served.session.get_providers()[0]
    if not rehearse and used != "CUDAExecutionProvider":
        raise SystemExit(f"{file} runs on {used}, not on CUDA")
    yield "provider", used
    yield "largest difference", _differences(cpu, served)
    yield "images per second", {str(size): round(_rate(served, size)) for size in _SIZES}
    ways = {"plain": served, "I/O binding": Feed(file, device, bound=True)}
    if not rehearse:
        ways["CUDA graph"] = Feed(file, device, bound=True, graph=True)
    yield "ways, batch 1 and 32", {name: [round(_rate(feed, size)) for size in (1, 32)] for name, feed in ways.items()}
    if not rehearse:
        options = {name: Feed(file, chosen) for name, chosen in _OPTIONS.items()}
        rates = {name: [round(_rate(feed, size)) for size in (1, 32)] for name, feed in options.items()}
        yield "options, batch 1 and 32", rates
        yield "difference with TF32", max(_differences(cpu, options["TF32"]).values())
    half = file.with_name("model.float16.onnx")
    if half.exists():
        feed = Feed(half, device)
        yield "float16, batch 1 and 32", [round(_rate(feed, size)) for size in (1, 32)]


def over_http(files: list[Path], *, rehearse: bool) -> dict[str, object] | str:
    """Ask the service on the device, over several connections, for answers to one image of each model's size.

    Returns:
        Per model and number of connections, answers per second and the milliseconds within which half and 99 % of them
        came; or why there are none.
    """
    try:
        from benchmarks import load, pictures  # noqa: PLC0415  # all else does without the service
        from benchmarks.service import serving  # noqa: PLC0415
    except ImportError as error:
        return f"not measured: {error}"
    found: dict[str, object] = {}
    for file in files:
        name, number = file.parts[-3:-1]
        height, width, _ = Feed(file, None).shape
        request = load.post(f"/predict?model={name}:{number}", pictures.jpeg(width, height, 2))
        with serving(str(file.parents[2]), DEVICE="cpu" if rehearse else "cuda") as service:
            for connections in (1, 16, 64):
                end = time.monotonic() + 1 + _SECONDS
                outcome = load.closed(service.port, request, connections, lambda _, end=end: time.monotonic() < end)
                if set(outcome.statuses) != {200} or outcome.failures:
                    raise SystemExit(f"{file}: {outcome}")
                rate = outcome.statuses[200] / (1 + _SECONDS)
                half, most = (1000 * outcome.percentile(200, share) for share in (0.5, 0.99))
                found[f"{name}:{number}, {connections} connections"] = [round(rate), round(half, 1), round(most, 1)]
    return found


def _batch(feed: Feed, size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (size, *feed.shape), np.uint8)


def _differences(one: Feed, other: Feed) -> dict[str, float]:
    """Largest difference per output, over every bucket."""
    largest = dict.fromkeys(one.names, 0.0)
    for size in _SIZES:
        batch = _batch(one, size)
        for name, a, b in zip(one.names, one.runner(batch)(), other.runner(batch)(), strict=True):
            largest[name] = max(largest[name], float(np.abs(a.astype(np.float64) - b).max()))
    return largest


def _rate(feed: Feed, size: int) -> float:
    """Images per second, the median of several runs."""
    run = feed.runner(_batch(feed, size))
    for _ in range(3):
        run()
    rates = []
    for _ in range(_REPEATS):
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < _SECONDS / _REPEATS:
            run()
            done += size
        rates.append(done / (time.perf_counter() - start))
    return statistics.median(rates)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    text = "model.onnx files (default: all in ./models)"
    parser.add_argument(
        "models", nargs="*", type=Path, default=sorted(Path("models").glob("*/*/model.onnx")), help=text
    )
    parser.add_argument("--rehearse", action="store_true", help="run everything possible on the CPU, without a GPU")
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="largest difference from the CPU allowed (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="JSON file (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
