"""The whole pipeline on the demo's own tree, through the same library calls as the ordinary
commands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from featcache.audit import AuditOptions, audit
from featcache.backbones import resolve_all
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, load_manifests, scan_into
from featcache.datasets.scan import dataset_name
from featcache.demo.build import TRAIN, DemoTree, build_tree
from featcache.embed import EmbedOptions, embed
from featcache.embed.spectra import spectra
from featcache.errors import DataError
from featcache.evaluate import (
    AblateOptions,
    ProbeOptions,
    ablate,
    load_result,
    load_scores,
    result_folder,
    run_probe,
    save_result,
)
from featcache.evaluate.task import prepare_task
from featcache.extract import ExtractOptions, ExtractSummary, extract
from featcache.files import write_atomic
from featcache.reports import write_report
from featcache.reports.exhibits import map_exhibit, spectra_exhibit
from featcache.reports.export import write_scores
from featcache.results import AblationResult, EvalResult, Scores

BACKBONE = "efficientnet-lite0"
TAP = f"{BACKBONE}@layer5"
"""An earlier place of the same network, for the ablation: it costs no forward pass of its own."""

GRID = [1e-4, 1e-2, 1.0]
"""Values of C to choose from: with more numbers per image than images each takes seconds."""

VIEWS = ["jpeg:75", "blur:1"]
"""How the test images are seen besides as they are; a forward pass for each."""

PRESET: dict[str, str | None] = {"preset": "univfd"}

SOURCE_PATTERN = r"([^/\\]+)__[^/\\]+$"
"""The photograph is what stands before the double underscore of a file name."""


@dataclass(frozen=True)
class DemoRun:
    """What the demo made, and where; ``extractions`` are one for each feature and view."""

    tree: DemoTree
    cache: Path
    extractions: list[ExtractSummary]
    result: EvalResult
    ablation: AblationResult
    report: Path
    scores: Path

    @property
    def n_forwarded(self) -> int:
        """Images that went through the network in this run, once for each view."""
        return sum(one.n_forwarded for one in self.extractions if one.backbone == BACKBONE)


def run_demo(
    out: Path,
    *,
    photos: Path | None = None,
    cache: Path | None = None,
    full: bool = False,
    on_result: Callable[[EvalResult], None] | None = None,
) -> DemoRun:
    """Build the tree, extract, probe and report; what exists already is not done again.

    Parameters
    ----------
    out : Path
        Folder for images, store, settings, scores and report.
    photos : Path, optional
        Folder of photographs to make the fakes from.
    cache : Path, optional
        The store; ``<out>/features`` by default.
    full : bool
        Make training fakes of every generator, and twice as many crops.
    on_result : callable, optional
        Called with the result of the probe before the slower parts of the report are computed.

    Returns
    -------
    DemoRun
    """
    out = out.resolve()
    store_path = cache or out / "features"
    tree = build_tree(out, photos=photos, full=full)
    # Leave a settings file with which the bare commands in that folder do the same.
    lines = {
        "cache": str(store_path),
        "data": ["data"],
        "backbone": [BACKBONE, TAP],
        "features": [BACKBONE],
        "train": [TRAIN],
        "C": ",".join(f"{C:g}" for C in GRID),
        "source_pattern": SOURCE_PATTERN,
    }
    # A JSON string or list of strings is also TOML.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    write_atomic(out / "featcache.toml", text.encode())
    scan_into(store_path, tree.root, ScanOptions(source_pattern=SOURCE_PATTERN))
    manifest = load_manifests(store_path, [dataset_name(tree.root.resolve())])
    store = FeatureStore(store_path)
    extractions = _extract(manifest, store)
    result, scores = _probe(manifest, store)
    if on_result is not None:
        on_result(result)
    # Compare the places of the network, keep the result, and read it in the next run.
    ablation = ablate(manifest, store, AblateOptions(probe=_options([BACKBONE, TAP])))
    save_result(store.root, ablation)
    checked = audit(manifest, AuditOptions())
    checked.write(store_path / "audit.json")
    options = EmbedOptions(features=[BACKBONE], methods=("pca", "probe"), wanted=PRESET)
    return DemoRun(
        tree=tree,
        cache=store_path,
        extractions=extractions,
        result=result,
        ablation=ablation,
        report=write_report(
            result,
            scores,
            out / "report.html",
            title="featcache demo",
            command="featcache demo",
            ablation=ablation,
            audit=checked,
            exhibits=[
                map_exhibit(embed(manifest, store, options)),
                spectra_exhibit(spectra(manifest)),
            ],
        ),
        scores=write_scores(scores, out / "scores.csv"),
    )


def _extract(manifest: Manifest, store: FeatureStore) -> list[ExtractSummary]:
    """Make all features of the images as they are, and one of the test images in further views."""
    specs = resolve_all([BACKBONE, TAP])
    tested = manifest.where(lambda sample: sample.split == "test")
    further = ExtractOptions(views=tuple(VIEWS))
    return [
        *extract(manifest, specs, store, ExtractOptions()),
        *extract(tested, specs[:1], store, further),
    ]


def _probe(manifest: Manifest, store: FeatureStore) -> tuple[EvalResult, Scores]:
    """Choose C, fit and judge, and keep the result; read it where it is of these very files."""
    options = replace(_options([BACKBONE]), test_views=["clean", *VIEWS])
    folder = result_folder(store.root, prepare_task(manifest, store, options).digest())
    if (saved := _saved(folder, manifest)) is not None:
        return saved
    probed = run_probe(manifest, store, options)
    save_result(store.root, probed.result, probed.scores, probed.head)
    return probed.result, probed.scores


def _saved(folder: Path, manifest: Manifest) -> tuple[EvalResult, Scores] | None:
    """Return a kept probe; None where there is none, it is damaged, or its files have been
    moved.
    """
    if not folder.exists():
        return None
    try:
        result, scores = load_result(folder), load_scores(folder)
    except DataError:
        return None
    here = {sample.path for sample in manifest}.issuperset(scores.path.tolist())
    return (result, scores) if isinstance(result, EvalResult) and here else None


def _options(features: list[str]) -> ProbeOptions:
    return ProbeOptions(features=features, train=[TRAIN], grid=list(GRID), wanted=PRESET)
