"""featcache: run frozen vision backbones once, probe their features for generated images in seconds."""

from featcache._version import __version__

__all__ = ["__version__"]
