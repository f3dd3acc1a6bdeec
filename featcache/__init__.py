"""featcache: run frozen vision backbones once, probe their features for generated images in seconds."""

from typing import TYPE_CHECKING, Any

from featcache._version import __version__

if TYPE_CHECKING:
    from featcache.detect import Detector

__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the detector when it is asked for: ``import featcache`` stays light."""
    if name == "Detector":
        from featcache.detect import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
