"""The error tree: every failure a user can cause or meet is one of these.

A message is one line that says what went wrong, where, and what to do. The command line prints it on stderr and
exits with `exit_code`: 1 for a failure, 3 for a gate that was measured and not met (usage errors are 2, by click).
"""


class EdgeSRError(Exception):
    """Base of all errors raised on purpose by edgesr."""

    exit_code = 1


class ConfigurationError(EdgeSRError):
    """A configuration file cannot be read, or gives what no option takes."""


class UnsupportedOpError(EdgeSRError):
    """The network uses an operator or attribute outside the graph's vocabulary."""


class NetworkError(EdgeSRError):
    """A user's own class cannot be loaded, built or run as a network that makes an image of an image."""


class CheckpointError(EdgeSRError):
    """A weights file cannot be read, or does not fit an architecture."""


class TrainingError(EdgeSRError):
    """A training configuration cannot be used, or a training run cannot go on."""


class ImageError(EdgeSRError):
    """An image file or folder cannot be used."""


class CalibrationError(EdgeSRError):
    """The calibration images cannot give usable activation ranges."""


class ExportError(EdgeSRError):
    """A graph cannot be emitted for a target, or the output cannot be written."""


class ArtifactError(EdgeSRError):
    """An artifact or its manifest is missing, corrupt, foreign or changed since it was written."""


class ParityError(EdgeSRError):
    """A deployed file does not compute what the reference computes."""

    exit_code = 3


class QualityError(EdgeSRError):
    """Image quality lies below the gate that was asked for."""

    exit_code = 3


class RebuildError(EdgeSRError):
    """A file that was built again has other bytes than its manifest says."""

    exit_code = 3


class PlacementError(EdgeSRError):
    """An operator runs elsewhere than on the NPU, where that was not allowed."""

    exit_code = 3


class SpeedError(EdgeSRError):
    """An artifact got slower, where that was not allowed."""

    exit_code = 3


class DeviceError(EdgeSRError):
    """A device, emulator or connection failed."""


class MissingBackendError(EdgeSRError):
    """An optional backend is not installed; the message holds the pip line that installs it."""


def first_line(error: Exception) -> str:
    """What another library's exception says, in one line; its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
