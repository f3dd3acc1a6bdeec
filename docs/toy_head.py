"""Make the toy head that comes with the package, after ``featcache demo``.

It is fitted on the demo's training images (photographs of the demo and fakes of one CycleGAN) with
the packaged backbone, and says of itself that it is a toy.

    python docs/toy_head.py featcache-demo/features
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from featcache.cache import FeatureStore
from featcache.datasets import load_manifests
from featcache.demo.run import BACKBONE, GRID, PRESET, TRAIN
from featcache.detect.detector import TOY_HEAD
from featcache.evaluate import ProbeOptions, calibrate_head, run_probe

NOTE = (
    "a toy: trained on crops of a few photographs and the fakes of one CycleGAN, to show how the"
    " program works; it says nothing about whether a photograph is genuine"
)


def main(cache: Path) -> None:
    """Fit the head on the demo's store and write it into the package."""
    store, manifest = FeatureStore(cache), load_manifests(cache)
    options = ProbeOptions(features=[BACKBONE], train=[TRAIN], grid=list(GRID), wanted=PRESET)
    head = run_probe(manifest, store, options).saveable_head()
    head = calibrate_head(head, manifest, store, options)
    print(replace(head, meta={**head.meta, "toy": NOTE}).save(TOY_HEAD))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
