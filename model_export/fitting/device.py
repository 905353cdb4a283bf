"""Where TensorFlow trains, and what to do if that is not the GPU."""

from __future__ import annotations

import os

import tensorflow as tf

from app import devices, interpreter


def has_gpu() -> bool:
    """Whether TensorFlow has found a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def used() -> str:
    """Name what TensorFlow trains on."""
    if not (gpus := tf.config.list_physical_devices("GPU")):
        return "the CPU"
    details = tf.config.experimental.get_device_details(gpus[0])
    return f"the GPU {details.get('device_name', gpus[0].name)}"


def advice() -> str:
    """Say how TensorFlow finds a GPU that has a driver; empty if it has found one, or none is wanted."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if has_gpu() or hidden or devices.driver_version() == (0, 0):
        return ""
    return (
        "there is an NVIDIA driver, but TensorFlow finds no GPU that it can use; the libraries that it needs come with "
        f"{interpreter.command()} -m pip install 'tensorflow[and-cuda]=={tf.__version__}'"
    )
