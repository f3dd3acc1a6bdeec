"""The images and the features of a study: scan, choose, extract; what exists is not done again.

Backbones that a study trains further: their heads join its runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.backbones import BackboneSpec, resolve
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, choose, merge, resolve_pairs, scan_into
from featcache.datasets.simulate import SimulateOptions, simulate
from featcache.demo.build import build_tree
from featcache.demo.photographs import load_packaged
from featcache.demo.run import SOURCE_PATTERN
from featcache.errors import SettingsError, WeightsError
from featcache.evaluate import load_result
from featcache.extract import ExtractOptions
from featcache.files import digest_json, whole_folder
from featcache.results import EvalResult
from featcache.studies.plan import TUNED, Run, with_random
from featcache.studies.result import RunResult
from featcache.studies.schema import DataPlan, StudyPlan

if TYPE_CHECKING:
    from featcache.finetune import FinetuneOptions

log = logging.getLogger("featcache")

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
    scan : ScanOptions
        How these trees are read; a ``source_pattern`` of the study comes before this one's.
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
    scan: ScanOptions = field(default_factory=ScanOptions)
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
    study : Study
        With features of random weights named as such.
    manifest : Manifest
        Chosen, with the roles of the protocol as splits.
    store : FeatureStore
    specs : dict of str to BackboneSpec
        By the name in ``study``.
    options : ExtractOptions
    notes : list of str
    """

    study: StudyPlan
    manifest: Manifest
    store: FeatureStore
    specs: dict[str, BackboneSpec]
    options: ExtractOptions
    notes: list[str]

    def names(self, features: Sequence[str]) -> list[str]:
        """Return a feature set under the names in the store.

        Parameters
        ----------
        features : Sequence[str]
            Features of shape (n_samples, n_features).

        Returns
        -------
        list[str]
            A feature set under the names in the store.
        """
        return [self.specs[name].name for name in features]


def prepare(study: StudyPlan, options: StudyOptions, *, dry_run: bool = False) -> Prepared:
    """Find the images and resolve the backbones; nothing is extracted yet.

    Parameters
    ----------
    study : StudyPlan
        Plan of the study.
    options : StudyOptions
        Settings; their own documentation names every field.
    dry_run : bool
        Write nothing: images that the study makes itself must be there (:func:`images_to_make`),
        and manifests are not kept.

    Returns
    -------
    Prepared

    Raises
    ------
    DataError
        If there are no images, or the protocol's are missing.
    WeightsError
        If weights are missing and random ones were not asked for.
    """
    roots, scan = _roots(study.data, options)
    if not dry_run:
        _make_images(study.data, options)
    scans = [scan_into(options.cache, root, scan, keep=not dry_run) for root in roots]
    manifest, notes = _choose(merge(one.manifest for one in scans), study.data, options)
    specs = {name: _spec(name, options) for name in study.extract.backbones}
    if drawn := [n for n, spec in specs.items() if spec.random_init is not None and "#" not in n]:
        notes.append(RANDOM.format(names=", ".join(drawn)))
        study = with_random(study, drawn, options.random_init or 0)
        specs = dict(zip(study.extract.backbones, specs.values(), strict=True))
    plan = study.extract
    return Prepared(
        study=study,
        manifest=manifest,
        store=FeatureStore(options.cache),
        specs=specs,
        options=replace(
            options.extract, preset=plan.preset, precision=plan.precision, views=tuple(plan.views)
        ),
        notes=notes,
    )


def _spec(name: str, options: StudyOptions) -> BackboneSpec:
    """Return a backbone; with random weights where its file is nowhere and that was allowed."""
    spec = resolve(name, weights=options.weights)
    if options.random_init is None or spec.random_init is not None or spec.state_id:
        return spec
    try:
        spec.find_weights()
    except WeightsError:
        return resolve(name, random_init=options.random_init)
    return spec


def _roots(plan: DataPlan, options: StudyOptions) -> tuple[list[Path], ScanOptions]:
    """Return the trees of a study, and how they are read."""
    if (own_root := _own_root(plan, options)) is not None:
        scan = ScanOptions(source_pattern=SOURCE_PATTERN, workers=options.scan.workers)
        return [own_root], scan
    roots = [Path(root) for root in plan.roots] or list(options.data)
    if not roots:
        raise SettingsError(
            "The study names no images. Give --data FOLDER, or set data in featcache.toml."
        )
    pattern = plan.source_pattern or options.scan.source_pattern
    return roots, replace(options.scan, source_pattern=pattern)


def images_to_make(plan: DataPlan, options: StudyOptions) -> str:
    """Say which images a study makes before anything else; empty where they exist already.

    Parameters
    ----------
    plan : DataPlan
        Where the study's images come from.
    options : StudyOptions
        Settings; their own documentation names every field.

    Returns
    -------
    str
        One sentence.
    """
    root = _own_root(plan, options)
    if root is None or root.exists():
        return ""
    if plan.source == "demo":
        return f"The images of the demo are made first, in {root}."
    recipe = _recipe(plan)
    n_generators = len(recipe.artefacts) * len(recipe.strengths)
    return (
        f"The study first simulates {n_generators} generators in {root}: up to {recipe.per_photo}"
        f" tiles of every photograph, {1 + n_generators} images of each tile."
    )


def _own_root(plan: DataPlan, options: StudyOptions) -> Path | None:
    """Return where the images lie that a study makes itself; None where it reads the user's."""
    if plan.source == "demo":
        return options.out.resolve() / "data"
    if plan.source != "simulate":
        return None
    # The folder is named by its recipe, so that it is made once.
    photos = options.photos or options.out / "photos"
    digest = digest_json({**asdict(_recipe(plan)), "photos": str(photos.resolve())})
    return options.out / f"simulated-{digest[:8]}"


def _recipe(plan: DataPlan) -> SimulateOptions:
    question: dict[str, Any] = {"artefacts": plan.artefacts, "strengths": plan.strengths}
    chosen = {name: value for name, value in question.items() if value}
    return SimulateOptions(**chosen, skip_plain=True)


def _make_images(plan: DataPlan, options: StudyOptions) -> None:
    """Make the images that a study makes itself, unless they exist."""
    root = _own_root(plan, options)
    if plan.source == "demo":
        build_tree(options.out, photos=options.photos)
    elif root is not None and not root.exists():
        photos = options.photos or options.out / "photos"
        if not photos.exists():
            # The photographs that packages carry, without loss.
            with whole_folder(photos) as temporary:
                for photo in load_packaged():
                    photo.image.save(temporary / f"{photo.name}.png")
        made = simulate(photos, root, _recipe(plan))
        if made.n_plain:
            log.warning(
                "%d of %d tiles are left out: too plain for the least strength to change a pixel.",
                *(made.n_plain, made.n_plain + made.n_tiles),
            )


def _choose(
    manifest: Manifest, plan: DataPlan, options: StudyOptions
) -> tuple[Manifest, list[str]]:
    """Return what the protocol and the filters take, and what the protocol misses."""
    limits = [n for n in (plan.max_per_class, options.max_per_class) if n is not None]
    return choose(
        resolve_pairs(manifest),
        protocol=plan.protocol,
        generators=plan.generators,
        groups=plan.groups,
        categories=plan.categories,
        max_per_class=min(limits, default=None),
    )


def tuned_runs(prepared: Prepared, options: StudyOptions) -> list[RunResult]:
    """Train every backbone that the study names, and return the runs of the tuned heads.

    The weights lie in the study's folder; what was trained already is not trained again.

    Parameters
    ----------
    prepared : Prepared
        Study with its data and backbones.
    options : StudyOptions
        Settings; their own documentation names every field.

    Returns
    -------
    list[RunResult]
    """
    return [
        _tuned(name, settings, prepared, options)
        for name, settings in _iter_tuned(prepared, options)
    ]


def forecast_tuned(prepared: Prepared, options: StudyOptions) -> list[dict[str, Any]]:
    """Return what the training would cost, by counting steps and timing one.

    Parameters
    ----------
    prepared : Prepared
        Study with its data and backbones.
    options : StudyOptions
        Settings; their own documentation names every field.

    Returns
    -------
    list[dict[str, Any]]
        What the training would cost, by counting steps and timing one.
    """
    forecasts = []
    for _, settings in _iter_tuned(prepared, options):
        from featcache.finetune import forecast_finetune

        forecasts.append(forecast_finetune(prepared.manifest, settings).to_dict())
    return forecasts


def _iter_tuned(prepared: Prepared, options: StudyOptions) -> Iterator[tuple[str, FinetuneOptions]]:
    plan = prepared.study.finetune
    if not plan.backbones:
        return
    from featcache.finetune import FinetuneOptions

    shared = plan.model_dump(exclude={"backbones"})
    how = prepared.options
    for name in plan.backbones:
        yield (
            name,
            FinetuneOptions(
                **shared,
                backbone=prepared.specs[name].name,
                train=list(prepared.study.probe.train[0]),
                preset=how.preset,
                precision=how.precision,
                device=how.device,
                workers=how.workers,
                shard_rows=how.shard_rows,
                weights=options.weights,
                n_resamples=options.n_resamples,
            ),
        )


def _tuned(
    name: str, settings: FinetuneOptions, prepared: Prepared, options: StudyOptions
) -> RunResult:
    from featcache.finetune import finetune

    file = options.out / f"{_file_name(name)}-ft.safetensors"
    options.out.mkdir(parents=True, exist_ok=True)
    done = finetune(prepared.manifest, prepared.store, settings, file)
    folder = Path(done.results[1])
    result = load_result(folder)
    assert isinstance(result, EvalResult)
    held_out = f"{done.n_val:,} training images choose the epoch of {name} and are not trained on."
    result = replace(result, notes=[*result.notes, *done.notes, held_out])
    run = Run(
        features=(name,), train=prepared.study.probe.train[0], head=f"{TUNED} ({done.method})"
    )
    return RunResult(run=run, result=result, folder=str(folder))


def _file_name(name: str) -> str:
    """Return a name that every file system takes."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
