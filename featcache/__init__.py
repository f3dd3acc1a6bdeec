"""featcache: run frozen vision backbones once, probe their features for generated images in
seconds.

The names below are the public interface; each is loaded when it is first used, so that importing
featcache costs nothing and the offline half never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featcache._version import __version__

if TYPE_CHECKING:
    from featcache.api import compare, extract, load_features, scan
    from featcache.backbones import load_backbone, register_backbone
    from featcache.cache import FeatureKey, FeatureStore
    from featcache.datasets import Manifest, ScanOptions, load_manifests, scan_into
    from featcache.detect import Detector
    from featcache.evaluate import AblateOptions, ProbeOptions, run_probe
    from featcache.evaluate.ablation import ablate
    from featcache.evaluate.learning_curve import efficiency
    from featcache.evaluate.transfer import transfer
    from featcache.extract import ExtractOptions
    from featcache.extract import extract as extract_features
    from featcache.probes import LogisticProbe, SavedHead, load_head
    from featcache.studies import load_study

_HOMES = {
    "AblateOptions": "featcache.evaluate",
    "Detector": "featcache.detect",
    "ExtractOptions": "featcache.extract",
    "FeatureKey": "featcache.cache",
    "FeatureStore": "featcache.cache",
    "LogisticProbe": "featcache.probes",
    "Manifest": "featcache.datasets",
    "ProbeOptions": "featcache.evaluate",
    "SavedHead": "featcache.probes",
    "ScanOptions": "featcache.datasets",
    "ablate": "featcache.evaluate",
    "compare": "featcache.api",
    "efficiency": "featcache.evaluate",
    "extract": "featcache.extract",
    "extract_features": "featcache.extract",
    "load_backbone": "featcache.backbones",
    "load_features": "featcache.api",
    "load_head": "featcache.probes",
    "load_manifests": "featcache.datasets",
    "load_study": "featcache.studies",
    "register_backbone": "featcache.backbones",
    "run_probe": "featcache.evaluate",
    "scan": "featcache.api",
    "scan_into": "featcache.datasets",
    "transfer": "featcache.evaluate",
}
_NAMES = {"extract_features": "extract"}
"""Names that differ from those at home: a function cannot be called like a package beside it."""

__all__ = [
    "AblateOptions",
    "Detector",
    "ExtractOptions",
    "FeatureKey",
    "FeatureStore",
    "LogisticProbe",
    "Manifest",
    "ProbeOptions",
    "SavedHead",
    "ScanOptions",
    "__version__",
    "ablate",
    "compare",
    "efficiency",
    "extract",
    "extract_features",
    "load_backbone",
    "load_features",
    "load_head",
    "load_manifests",
    "load_study",
    "register_backbone",
    "run_probe",
    "scan",
    "scan_into",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featcache' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # The package featcache.extract is callable itself: Python binds it to this very name.
    return home if name == "extract" else getattr(home, _NAMES.get(name, name))


def __dir__() -> list[str]:
    return __all__
