"""Make features: plan what is missing, run each backbone once per image, write shards."""

from featcache.extract.forecast import estimate_seconds, forecast
from featcache.extract.options import ExtractOptions, parse_part
from featcache.extract.plan import Plan, Request, ShardJob, WorkItem, group, make_requests, plan
from featcache.extract.results import ExtractSummary, Reject, RunReport, write_rejects
from featcache.extract.run import extract

__all__ = [
    "ExtractOptions",
    "ExtractSummary",
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
    "make_requests",
    "parse_part",
    "plan",
    "write_rejects",
]
