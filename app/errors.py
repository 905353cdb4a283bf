"""What can go wrong, drawn as a tree; nothing here knows HTTP or exit codes.

    MultipoolError
    ├── InvalidRequest            what the caller sent cannot be used
    │   ├── MalformedRequest      the body does not follow its own format
    │   ├── BodyTooLarge          more bytes than the service accepts
    │   ├── InvalidParameter      a query parameter has no such value
    │   ├── MissingFile           no part named "file"
    │   ├── UnsupportedMediaType  not an image type that is accepted
    │   ├── EmptyFile             no bytes at all
    │   ├── UndecodableImage      not an image, or a damaged one
    │   ├── TooManyPixels         larger than the service decodes
    │   └── WrongChannels         other channels than the model reads
    ├── Unauthorized              no valid API key
    ├── RateLimited               more requests than this client may send
    ├── NotAcceptable             none of the media types asked for can be made
    ├── ModelNotFound             no such model or version
    ├── Unavailable               not now; try again
    │   ├── Overloaded
    │   ├── NotReady
    │   ├── Draining
    │   └── DeviceFailed
    ├── DeadlineExceeded          not answered in time
    ├── MissingInput              a file or folder that was named does not exist
    ├── InvalidUsage              a command line that asks for what cannot be
    ├── InvalidSettings           a setting is unknown or has no such value
    ├── InvalidArtifact           a model file that is not one of ours, or is damaged
    │   ├── UnreadableArtifact    cannot be read now
    │   │   └── BusyProcess       because of this process, and not of the file
    │   └── HarmfulArtifact       loading it ends the process, or does not end
    ├── NothingToServe            the model repository is absent or empty
    ├── DeviceUnavailable         the device that was asked for cannot be had
    └── CannotListen              the address cannot be had
        └── PortInUse             something listens there already

The text of each is for the person who can correct it: what was wrong, and what to do.
"""


class MultipoolError(Exception):
    """Anything this project raises on purpose."""


class InvalidRequest(MultipoolError):
    """What the caller sent cannot be used."""


class MalformedRequest(InvalidRequest):
    """The body does not follow its own format."""


class BodyTooLarge(InvalidRequest):
    """The body has more bytes than the service accepts."""


class InvalidParameter(InvalidRequest):
    """A parameter has a value that is not allowed."""


class MissingFile(InvalidRequest):
    """The form has no part named ``file``."""


class UnsupportedMediaType(InvalidRequest):
    """The body is not of an image type that is accepted."""


class EmptyFile(InvalidRequest):
    """The file has no bytes."""


class UndecodableImage(InvalidRequest):
    """The bytes are not an image, or a damaged one, or cannot be read from the disk."""


class TooManyPixels(InvalidRequest):
    """The image is larger than the service decodes."""


class WrongChannels(InvalidRequest):
    """The image has another number of channels than the model reads."""


class Unauthorized(MultipoolError):
    """The request carries no valid API key."""


class RateLimited(MultipoolError):
    """The client sends more requests than it may."""


class NotAcceptable(MultipoolError):
    """None of the media types that the caller accepts can be made."""


class ModelNotFound(MultipoolError):
    """No model or version of that name is served."""


class Unavailable(MultipoolError):
    """The service cannot answer now, but may soon."""


class Overloaded(Unavailable):
    """As many images, or bytes of uploads, as allowed are there already."""


class NotReady(Unavailable):
    """The models are still being loaded, or the one that is asked for cannot be loaded again, or none is served."""


class Draining(Unavailable):
    """The service is shutting down."""


class DeviceFailed(Unavailable):
    """The device that runs the models is of no more use to this process."""


class DeadlineExceeded(MultipoolError):
    """The answer was not ready in time."""


class MissingInput(MultipoolError):
    """A file or folder that was named does not exist, or holds nothing."""


class InvalidUsage(MultipoolError):
    """A command line asks for what cannot be."""


class InvalidSettings(MultipoolError):
    """A setting is unknown or has a value that is not allowed."""


class InvalidArtifact(MultipoolError):
    """A model file is not a multi-pool artifact, or is damaged."""


class UnreadableArtifact(InvalidArtifact):
    """A model file cannot be read or tried now; that may pass although the file stays as it is."""


class BusyProcess(UnreadableArtifact):
    """This process, and not the file, is why it cannot be read or tried; that passes by itself."""


class HarmfulArtifact(InvalidArtifact):
    """To load a model file takes too long, or ends the process that does so."""


class NothingToServe(MultipoolError):
    """The model repository is absent or holds no model."""


class DeviceUnavailable(MultipoolError):
    """The requested device cannot be used."""


class CannotListen(MultipoolError):
    """The address cannot be listened on."""


class PortInUse(CannotListen):
    """Something listens there already."""
