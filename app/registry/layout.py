"""How a model repository is laid out: ``<name>/<version>/model.onnx``."""

import re

FILE = "model.onnx"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""What a model's name looks like."""
VERSION = re.compile(r"[1-9][0-9]{0,8}")
"""What a version's number looks like."""
