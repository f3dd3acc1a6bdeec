"""Whole studies from one file: data, backbones, views, heads, comparisons and the report."""

from featcache.studies.published import Published, load_published
from featcache.studies.schema import StudyPlan, load_study, shipped_names

__all__ = ["Published", "StudyPlan", "load_published", "load_study", "shipped_names"]
