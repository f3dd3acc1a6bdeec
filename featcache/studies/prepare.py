"""The images and the features of a study: scan, choose, extract; what exists is not done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from featcache.backbones import BackboneSpec, resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, choose, expand, merge, scan_into
from featcache.datasets.simulate import SimulateOptions, simulate
from featcache.demo.build import build_tree
from featcache.demo.photographs import load_packaged
from featcache.demo.run import SOURCE_PATTERN
from featcache.errors import SettingsError, WeightsError
from featcache.extract import ExtractOptions
from featcache.files import whole_folder
from featcache.hashing import digest_json
from featcache.studies.schema import DataPlan, Study

RANDOM = "Random weights stand in for {names}: their numbers say nothing about the real backbones."


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Where a study runs, and on what.

    Parameters
    ----------
    out : Path
        Folder for the demo's or simulated images, the lock and the report.
    cache : Path
        The store.
    data : tuple of Path
        Trees, where the study's file names none.
    photos : Path, optional
        Photographs for ``demo`` and ``simulate``; packaged ones by default.
    weights : mapping of str to Path
        Weights files by backbone.
    random_init : int, optional
        Seed of random weights for the backbones whose files are nowhere; None makes that an error.
    extract : ExtractOptions
        Device, batch size, workers, engine; preset, precision and views are the study's.
    max_per_class : int, optional
        A smaller study: at most so many images of each generator, split and class.
    n_resamples : int
        Of the bootstrap.
    """

    out: Path
    cache: Path
    data: tuple[Path, ...] = ()
    photos: Path | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    random_init: int | None = None
    extract: ExtractOptions = field(default_factory=ExtractOptions)
    max_per_class: int | None = None
    n_resamples: int = 1000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the runs of a study need.

    Parameters
    ----------
    manifest : Manifest
        Chosen, with the roles of the protocol as splits.
    store : FeatureStore
    specs : dict of str to BackboneSpec
        By the name in the study's file.
    options : ExtractOptions
    notes : list of str
    """

    manifest: Manifest
    store: FeatureStore
    specs: dict[str, BackboneSpec]
    options: ExtractOptions
    notes: list[str]

    def names(self, features: Sequence[str]) -> list[str]:
        """Return a feature set under the names in the store."""
        return [self.specs[name].name for name in features]


def prepare(study: Study, options: StudyOptions) -> Prepared:
    """Find the images and resolve the backbones; nothing is extracted yet.

    Raises
    ------
    DataError
        If there are no images, or the protocol's are missing.
    WeightsError
        If weights are missing and random ones were not asked for.
    """
    manifest, notes = _choose(_scan(study.data, options), study.data, options)
    specs = {name: _spec(name, options) for name in study.extract.backbones}
    if drawn := [name for name, spec in specs.items() if spec.random_init is not None]:
        notes.append(RANDOM.format(names=", ".join(drawn)))
    return Prepared(
        manifest=manifest,
        store=FeatureStore(options.cache),
        specs=specs,
        options=_extract_options(study, options),
        notes=notes,
    )


def _extract_options(study: Study, options: StudyOptions) -> ExtractOptions:
    plan = study.extract
    return replace(
        options.extract, preset=plan.preset, precision=plan.precision, views=tuple(plan.views)
    )


def _spec(name: str, options: StudyOptions) -> BackboneSpec:
    """Return a backbone; with random weights where its file is nowhere and that was allowed."""
    spec = resolve(name, weights=options.weights)
    if options.random_init is None or spec.random_init is not None:
        return spec
    try:
        spec.find_weights()
    except WeightsError:
        return resolve(name, random_init=options.random_init)
    return spec


def _scan(plan: DataPlan, options: StudyOptions) -> Manifest:
    """Make the images where the study makes them, and scan every tree into the store."""
    roots, pattern = _roots(plan, options)
    scan_options = ScanOptions(source_pattern=pattern)
    return merge(scan_into(options.cache, root, scan_options).manifest for root in roots)


def _roots(plan: DataPlan, options: StudyOptions) -> tuple[list[Path], str]:
    """Return the trees of a study, and how their paths name the photograph."""
    if plan.source == "demo":
        return [build_tree(options.out, photos=options.photos).root], SOURCE_PATTERN
    if plan.source == "simulate":
        return [_simulated(plan, options)], SOURCE_PATTERN
    roots = [Path(root) for root in plan.roots] or list(options.data)
    if not roots:
        raise SettingsError(
            "The study names no images. Give --data FOLDER, or set data in featcache.toml."
        )
    return roots, plan.source_pattern


def _simulated(plan: DataPlan, options: StudyOptions) -> Path:
    """Return the tree of simulated fakes; its folder is named by its recipe, so that it is made once."""
    wanted: dict[str, Any] = {"artefacts": plan.artefacts, "strengths": plan.strengths}
    recipe = SimulateOptions(**{name: value for name, value in wanted.items() if value})
    photos = options.photos or _packaged(options.out / "photos")
    digest = digest_json({**asdict(recipe), "photos": str(photos.resolve())})
    root = options.out / f"simulated-{digest[:8]}"
    if not root.exists():
        simulate(photos, root, recipe)
    return root


def _packaged(folder: Path) -> Path:
    """Return a folder with the photographs that packages carry, without loss."""
    if not folder.exists():
        with whole_folder(folder) as temporary:
            for photo in load_packaged():
                photo.image.save(temporary / f"{photo.name}.png")
    return folder


def _choose(
    manifest: Manifest, plan: DataPlan, options: StudyOptions
) -> tuple[Manifest, list[str]]:
    """Return what the protocol and the filters take, and what the protocol misses."""
    limits = [n for n in (plan.max_per_class, options.max_per_class) if n is not None]
    return choose(
        expand(manifest),
        protocol=plan.protocol,
        generators=plan.generators,
        groups=plan.groups,
        categories=plan.categories,
        max_per_class=min(limits, default=None),
    )
