"""What can go wrong in the export stage, beside what ``app.errors`` already names."""

from app.errors import MultipoolError


class BadData(MultipoolError):
    """The data set cannot be trained on."""


class ParityFailure(MultipoolError):
    """The converted model does not answer like the trained one."""


class PrecisionFailure(MultipoolError):
    """The model loses too much of its accuracy in the precision that was asked for."""


class BadSuccessor(MultipoolError):
    """The model is of another kind than the published one that it would replace, or clearly worse."""


class RunInUse(MultipoolError):
    """Another process trains in the run's folder."""


class MissingPackage(MultipoolError):
    """Something is not installed that the command needs."""
