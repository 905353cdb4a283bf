"""Silences the decoders, which a sender could make print and warn at will.

The service itself reports an unusable file, once and by name.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from contextlib import suppress

from PIL import _imaging


def hush() -> None:
    """Have Pillow, tifffile, and the libtiff in Pillow, keep to their errors."""
    warnings.filterwarnings("ignore", module=r"PIL\b")
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    pillow = ctypes.CDLL(_imaging.__file__)
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):  # they print to standard error
        with suppress(AttributeError):  # a Pillow that is built otherwise
            getattr(pillow, handler)(None)
