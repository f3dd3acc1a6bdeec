"""Make features: plan what is missing, run each backbone once per image, write shards."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from featcache.extract.forecast import estimate_seconds, forecast
from featcache.extract.foreign import ForeignImport, import_foreign
from featcache.extract.foreign_rows import ForeignOptions
from featcache.extract.options import ExtractOptions, parse_part
from featcache.extract.plan import Plan, Request, ShardJob, WorkItem, group, make_requests, plan
from featcache.extract.results import ExtractSummary, Reject, RunReport, write_rejects
from featcache.extract.run import extract

__all__ = [
    "ExtractOptions",
    "ExtractSummary",
    "ForeignImport",
    "ForeignOptions",
    "Plan",
    "Reject",
    "Request",
    "RunReport",
    "ShardJob",
    "WorkItem",
    "estimate_seconds",
    "extract",
    "forecast",
    "group",
    "import_foreign",
    "make_requests",
    "parse_part",
    "plan",
    "write_rejects",
]


class _CallablePackage(ModuleType):
    """This package as ``featcache.extract(...)``: Python binds a package to its name in the
    package above, where the function of the short interface has to stand.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return what :func:`featcache.api.extract` returns, a ``FeatureSet``."""
        return import_module("featcache.api").extract(*arguments, **options)


sys.modules[__name__].__class__ = _CallablePackage
