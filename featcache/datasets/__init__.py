"""Which images there are: layouts, scanning by content, manifests. Labels live here and only here."""

from featcache.datasets.counts import count_rows
from featcache.datasets.library import load_manifests, scan_into
from featcache.datasets.manifest import Manifest, Sample, merge
from featcache.datasets.scan import Scan, ScanOptions, scan
from featcache.datasets.select import select

__all__ = [
    "Manifest",
    "Sample",
    "Scan",
    "ScanOptions",
    "count_rows",
    "load_manifests",
    "merge",
    "scan",
    "scan_into",
    "select",
]
