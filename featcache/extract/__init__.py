"""Make features: plan what is missing, run each backbone once per image, write shards."""

from featcache.extract.forecast import estimate_seconds, forecast
from featcache.extract.options import ExtractOptions, parse_part
from featcache.extract.plan import Plan, ShardJob, WorkItem, group, plan
from featcache.extract.rejects import Reject, write_rejects
from featcache.extract.report import RunReport
from featcache.extract.requests import Request, make_requests
from featcache.extract.run import extract
from featcache.extract.summary import ExtractSummary

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
