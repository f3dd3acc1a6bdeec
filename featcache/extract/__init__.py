"""Make features: plan what is missing, run the backbone once per image, write shards."""

from featcache.extract.plan import Plan, ShardJob, plan
from featcache.extract.rejects import write_rejects
from featcache.extract.run import (
    ExtractOptions,
    ExtractSummary,
    Reject,
    extract,
    feature_key,
    forecast,
)

__all__ = [
    "ExtractOptions",
    "ExtractSummary",
    "Plan",
    "Reject",
    "ShardJob",
    "extract",
    "feature_key",
    "forecast",
    "plan",
    "write_rejects",
]
