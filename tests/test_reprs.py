"""Results in a notebook: short, with the numbers that matter, and escaped as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import featcache as fc


def test_reprs_are_short_and_name_what_matters(toy: tuple[Any, Path]) -> None:
    manifest, store = toy
    features = fc.load_features("a,c", cache=store)
    probe = features.probe("a", train="progan")
    noise = features.probe("c", train="progan")
    ablation = features.ablate(train="progan")
    compared = fc.compare(probe, noise)
    for value in (manifest, features, probe, probe.result, probe.scores, ablation, compared):
        assert len(repr(value)) <= 2000, type(value)
    assert f"mAP={probe.result.mAP:.4g}" in repr(probe.result)
    assert "features=['a']" in repr(probe.result)
    assert "240" in repr(probe.scores)
    html = probe.result._repr_html_()
    assert f"<td>{probe.result.generators['adm'].ap:.3f}</td>" in html
    assert "<code>" in compared._repr_html_()
