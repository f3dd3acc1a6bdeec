"""The whole pipeline on the demo's own tree, through the same library calls as the ordinary commands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from featcache.audit import AuditOptions, audit
from featcache.backbones import BACKBONES
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, load_manifests, scan_into
from featcache.datasets.scan import dataset_name
from featcache.demo.build import DemoTree, build_tree
from featcache.embed import EmbedOptions, embed
from featcache.embed.spectra import spectra
from featcache.evaluate import ProbeOptions, evaluate
from featcache.extract import ExtractOptions, ExtractSummary, extract
from featcache.files import write_atomic
from featcache.reports import write_report
from featcache.reports.exhibits import map_exhibit, spectra_exhibit
from featcache.reports.scores import write_scores
from featcache.reports.tables import Exhibit
from featcache.results import EvalResult

BACKBONE = "efficientnet-lite0"
TRAIN = "cyclegan"

SOURCE_PATTERN = r"([^/\\]+)__[^/\\]+$"
"""The photograph is what stands before the double underscore of a file name."""


@dataclass(frozen=True)
class DemoRun:
    """What the demo made, and where."""

    tree: DemoTree
    cache: Path
    extraction: ExtractSummary
    result: EvalResult
    report: Path
    scores: Path


def run_demo(out: Path, *, photos: Path | None = None, cache: Path | None = None) -> DemoRun:
    """Build the tree, extract, probe and report; what exists already is not done again.

    Parameters
    ----------
    out : Path
        Folder for images, store, settings, scores and report.
    photos : Path, optional
        Folder of photographs to make the fakes from.
    cache : Path, optional
        The store; ``<out>/features`` by default.

    Returns
    -------
    DemoRun
    """
    out = out.resolve()
    store_path = cache or out / "features"
    tree = build_tree(out, photos=photos)
    _write_settings(out, store_path)
    scan_into(store_path, tree.root, ScanOptions(source_pattern=SOURCE_PATTERN))
    manifest = load_manifests(store_path, [dataset_name(tree.root.resolve())])
    store = FeatureStore(store_path)
    (extraction,) = extract(manifest, [BACKBONES.get(BACKBONE)], store, ExtractOptions())
    options = ProbeOptions(features=[BACKBONE], train=[TRAIN], wanted={"preset": "univfd"})
    result, scores = evaluate(manifest, store, options)
    checked = audit(manifest, AuditOptions())
    checked.write(store_path / "audit.json")
    return DemoRun(
        tree=tree,
        cache=store_path,
        extraction=extraction,
        result=result,
        report=write_report(
            result,
            scores,
            out / "report.html",
            title="featcache demo",
            command="featcache demo",
            audit=checked,
            exhibits=_exhibits(manifest, store),
        ),
        scores=write_scores(scores, out / "scores.csv"),
    )


def _exhibits(manifest: Manifest, store: FeatureStore) -> list[Exhibit]:
    """Draw the feature space and the spectra; UMAP, which takes longer, is for ``featcache embed``."""
    options = EmbedOptions(
        features=[BACKBONE], methods=("pca", "probe"), wanted={"preset": "univfd"}
    )
    return [map_exhibit(embed(manifest, store, options)), spectra_exhibit(spectra(manifest))]


def _write_settings(out: Path, cache: Path) -> None:
    """Leave a settings file with which the bare commands in that folder do the same."""
    lines = {
        "cache": str(cache),
        "data": ["data"],
        "backbone": [BACKBONE],
        "features": [BACKBONE],
        "train": [TRAIN],
        "source_pattern": SOURCE_PATTERN,
    }
    # A JSON string or list of strings is also TOML.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    write_atomic(out / "featcache.toml", text.encode())
