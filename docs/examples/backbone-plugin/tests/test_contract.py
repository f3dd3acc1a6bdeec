"""The contract that featcache tests its own backbones with."""

from pathlib import Path

from featcache_tiny import TINY

from featcache.testing import check_backbone


def test_contract(tmp_path: Path) -> None:
    check_backbone(TINY, tmp_path)
