"""Heads on cached features. Knows no torch and no store."""

from featcache.probes.heads import SavedHead, load_head
from featcache.probes.logistic import Head, fit_logistic

__all__ = ["Head", "SavedHead", "fit_logistic", "load_head"]
