"""The contract of a backbone, and that head and metric are found by their entry points."""

from pathlib import Path

from featcache_tiny import TINY

from featcache.metrics import METRICS
from featcache.probes import parse_head
from featcache.testing import check_backbone


def test_head_and_metric_are_found() -> None:
    assert parse_head("centroids:shrink=0.5") == ("centroids", {"shrink": 0.5})
    assert not METRICS["gap"].higher_is_better


def test_contract(tmp_path: Path) -> None:
    check_backbone(TINY, tmp_path)
