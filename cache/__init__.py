"""The shard store: features by feature key and sample id. Knows no torch and no labels."""

from featcache.cache.keys import FeatureKey
from featcache.cache.lookup import describe
from featcache.cache.shard import Rows
from featcache.cache.store import FeatureStore, KeySummary

__all__ = ["FeatureKey", "FeatureStore", "KeySummary", "Rows", "describe"]
