"""Which images there are: layouts, scanning by content, manifests. Labels live here and only here."""

from featcache.datasets.choose import choose
from featcache.datasets.containers import read_bytes
from featcache.datasets.counts import count_rows
from featcache.datasets.find import describe_layouts
from featcache.datasets.library import load_manifests, scan_into
from featcache.datasets.manifest import Manifest, Sample, merge
from featcache.datasets.scan import Scan, ScanOptions, scan
from featcache.datasets.select import select
from featcache.datasets.serving import expand

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
    "scan",
    "scan_into",
    "select",
]
