"""Which images there are: layouts, scanning by content, manifests. Labels live here and only
here.
"""

from featcache.datasets.containers import read_bytes
from featcache.datasets.discovery import describe_layouts
from featcache.datasets.filters import choose, select
from featcache.datasets.library import load_manifests, scan_into
from featcache.datasets.manifest import Manifest, merge
from featcache.datasets.pairings import count_rows, expand, resolve_pairs
from featcache.datasets.sample import Sample
from featcache.datasets.scan import Scan, ScanOptions, scan

__all__ = [
    "Manifest",
    "Sample",
    "Scan",
    "ScanOptions",
    "choose",
    "count_rows",
    "describe_layouts",
    "expand",
    "load_manifests",
    "merge",
    "read_bytes",
    "resolve_pairs",
    "scan",
    "scan_into",
    "select",
]
