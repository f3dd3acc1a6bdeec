"""Heads on cached features. Knows no torch and no files."""

from featcache.probes.logistic import Head, fit_logistic

__all__ = ["Head", "fit_logistic"]
