"""What can go wrong in the export stage, besides the errors in ``app.errors``."""

from app.errors import MultipoolError


class BadData(MultipoolError):
    """The data set cannot be trained on."""


class ParityFailure(MultipoolError):
    """The converted model does not answer like the trained one."""


class PrecisionFailure(MultipoolError):
    """The model loses too much accuracy in the chosen precision."""


class BadSuccessor(MultipoolError):
    """The model has other classes or another input size than the version it would replace, or is clearly worse."""


class OutOfMemory(MultipoolError):
    """The device has no memory for what TensorFlow was asked to compute."""


class RunInUse(MultipoolError):
    """Another process trains in the run's folder."""


class MissingPackage(MultipoolError):
    """A package that the command needs is not installed."""
