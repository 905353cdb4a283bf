"""A model that is not known is loaded where it can do no harm: what it may take is bounded by the operating system."""

import os
import re
import resource
import signal
import subprocess
import sys

import numpy as np
from onnx import helper, numpy_helper

from app.probe import Probe
from app.registry import trial
from tests import toys
from tests.app.test_watching import never_ends
from tests.conftest import ROOT

SMALL = """
import sys
from app.registry import trial
trial._MEMORY_BYTES, trial._PROCESSOR_S = {memory}, {seconds}
sys.exit(trial.main())
"""


def tried(model, *, memory=trial._MEMORY_BYTES, seconds=trial._PROCESSOR_S, **options):
    """Try a model under these limits; returns the exit code and what was said."""
    command = [sys.executable, "-c", SMALL.format(memory=memory, seconds=seconds), "2", str(os.getpid())]
    done = subprocess.run(command, input=model, capture_output=True, cwd=ROOT, check=False, timeout=60, **options)
    return done.returncode, done.stderr.decode()


def takes(count):
    """A toy that fills an array of so many numbers of 4 bytes."""
    model = toys.proto(head=False)
    softmax = model.graph.node.pop()
    model.graph.initializer.append(numpy_helper.from_array(np.array([count]), "size"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    value = numpy_helper.from_array(np.zeros(1, np.float32))
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["pooled"], ["shape"]),  # of the batch: nothing that is known beforehand
            helper.make_node("ReduceMin", ["shape"], ["least"], keepdims=0),
            helper.make_node("Mul", ["size", "least"], ["sizes"]),
            helper.make_node("ConstantOfShape", ["sizes"], ["huge"], value=value),
            helper.make_node("ReduceMax", ["huge", "axis"], ["zero"], keepdims=0),
            helper.make_node("Add", ["logits", "zero"], ["shifted"]),
        ]
    )
    softmax.input[0] = "shifted"
    model.graph.node.append(softmax)
    return toys.serialize(model)


def test_a_good_model_passes():
    assert tried(toys.artifact(), memory=2 << 30) == (0, "")


def test_a_model_that_takes_more_memory_than_it_may_is_refused():
    code, said = tried(takes(1 << 29), memory=2 << 30)

    assert code == 1
    assert said.startswith("error: ")
    assert "Traceback" not in said


def test_a_good_model_passes_where_the_service_itself_is_limited_to_less():
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    assert tried(toys.artifact(), preexec_fn=limit) == (0, "")


def test_a_golden_probe_that_takes_more_memory_than_it_may_is_refused_in_one_line():
    probe = Probe.of(np.zeros((64, 1, 1, 3), np.uint8), np.full((64, 2), 0.5, np.float32), 0.01)

    code, said = tried(toys.artifact(4000, 4000, probe=probe), memory=3 << 30)

    assert code == 1
    assert re.fullmatch("error: it does not run: .*allocate.*\n", said)


def test_a_model_that_takes_more_time_than_it_may_is_ended():
    code, _ = tried(never_ends(), seconds=1)

    assert code in (-signal.SIGXCPU, -signal.SIGKILL)
