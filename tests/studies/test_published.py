"""Published numbers: complete, in range, and their means are those that the sources state."""

from __future__ import annotations

from statistics import fmean

import pytest

from featcache.datasets.families import group_of
from featcache.errors import UnknownNameError
from featcache.studies.published import compare_with_published, load_published, published_row


def test_every_row_is_sane() -> None:
    for row in load_published().values():
        assert row.source
        assert row.status in ("printed", "secondary", "recalled")
        limit = 1.0 if row.metric != "difference" else 0.2
        assert all(0 <= value <= limit for value in row.values.values()), row.id
        if row.metric != "difference":
            assert not [name for name in row.values if group_of(name) == "other"], row.id


@pytest.mark.parametrize(
    ("name", "mean", "gan"),
    [
        ("univfd-lc-accuracy", 0.8138, 0.9525),
        ("univfd-lc-ap", 0.9338, 0.9931),
        ("univfd-nn-ap", 0.9014, 0.9634),
    ],
)
def test_means_agree_with_the_sources(name: str, mean: float, gan: float) -> None:
    values = published_row(name).values
    assert len(values) == 19
    assert fmean(values.values()) == pytest.approx(mean, abs=1e-4)
    inside = [value for key, value in values.items() if group_of(key) == "GAN"]
    assert fmean(inside) == pytest.approx(gan, abs=1e-4)


def test_beside_keeps_what_both_have() -> None:
    row = published_row("univfd-lc-ap")
    own = {"biggan": (0.99, (0.98, 0.999)), "stargan": (0.90, (0.85, 0.95)), "mine": (0.5, (0, 1))}
    first, second = compare_with_published(row, own)
    assert (first.name, first.inside) == ("biggan", True)
    assert (second.name, second.inside) == ("stargan", False)
    assert second.difference == pytest.approx(0.90 - 0.9960)


def test_unknown_row() -> None:
    with pytest.raises(UnknownNameError, match="published row"):
        published_row("univfd")
