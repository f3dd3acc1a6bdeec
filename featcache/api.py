"""The short way through featcache in Python: scan, extract, probe, compare.

Each function stands for a command of the same name and accepts what its flags accept: texts or
paths, ``"clip,synclr"`` or a list. Settings that are not given come from ``featcache.toml`` and
``FEATCACHE_…``, as on the command line. The commands' own functions (``scan_into``,
``extract_features``, ``run_probe``) remain for those who need every part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Scan, ScanOptions, expand, merge, resolve_pairs, scan_into
from featcache.datasets import scan as scan_tree
from featcache.datasets.evidence import LabelMap
from featcache.datasets.library import load_manifests, manifest_path
from featcache.datasets.scan import dataset_name
from featcache.errors import DataError, SettingsError
from featcache.evaluate import (
    AblateOptions,
    ProbeOptions,
    calibrate_head,
    run_probe,
    save_result,
)
from featcache.evaluate.ablation import ablate as run_ablation
from featcache.evaluate.comparison import compare as compare_scores
from featcache.evaluate.options import split_list
from featcache.evaluate.results_store import check_result_name, name_result
from featcache.results import AblationResult, EvalResult, RunComparison, Scores
from featcache.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from featcache.probes import SavedHead

Metrics = Mapping[str, Callable[[NDArray[np.int64], NDArray[np.float64]], float]]


@dataclass(frozen=True)
class Dataset:
    """Images with their labels, generators and splits: what :func:`scan` returns.

    Parameters
    ----------
    scans : list of Scan
        One for each folder; ``scans[0].notes`` says what was passed over.
    roots : list of Path
        The folders.
    options : ScanOptions
        How they were read.
    """

    scans: list[Scan] = field(repr=False)
    roots: list[Path]
    options: ScanOptions = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """All samples; a shared real names the generators that it is paired with."""
        return resolve_pairs(merge(scan.manifest for scan in self.scans))

    def to_pandas(self) -> pd.DataFrame:
        """Return the samples as a table, one row for each sample and generator.

        Returns
        -------
        pandas.DataFrame
        """
        import pandas as pd

        columns = ("dataset", "path", "label", "generator", "paired_with", "family", "split",
                   "source", "sample_id")  # fmt: skip
        rows = list(expand(self.manifest))
        return pd.DataFrame({name: [getattr(row, name) for row in rows] for name in columns})

    def __repr__(self) -> str:
        counts = ", ".join(f"{root}: {len(scan.manifest):,} samples"
                           for root, scan in zip(self.roots, self.scans, strict=True))  # fmt: skip
        return f"Dataset({counts})"


@dataclass(frozen=True)
class FeatureSet:
    """Features of a data set in a store: what :func:`extract` and :func:`load_features` return.

    Parameters
    ----------
    manifest : Manifest
        The samples.
    store : FeatureStore
    features : list of str
        Names of the features; what :meth:`probe` uses where none are named.
    rejects : list of Reject
        Files that gave no feature, with the reasons.
    """

    manifest: Manifest = field(repr=False)
    store: FeatureStore = field(repr=False)
    features: list[str]
    rejects: list[Any] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        rejects = f", {len(self.rejects):,} files rejected" if self.rejects else ""
        return f"FeatureSet({', '.join(self.features)} in {self.store.root}{rejects})"

    def probe(
        self,
        features: str | Sequence[str] | None = None,
        *,
        metrics: Metrics | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Probe:
        """Fit a head and score every generator, as ``featcache probe`` does.

        Parameters
        ----------
        features : str or sequence of str, optional
            Features, joined side by side; those of this set by default.
        metrics : mapping of str to callable, optional
            Further metrics: ``f(y, p)`` gets the labels (n,) and the probabilities of fake (n,) of
            one generator's test set and returns a number. They have no interval.
        name : str, optional
            Save the result in the store under this name, for :func:`featcache.compare` and the
            commands ``compare`` and ``report``.
        **options
            Fields of :class:`~featcache.ProbeOptions`: ``train``, ``C``, ``head`` (a name or a
            scikit-learn classifier), ``scaling``, ``test_views`` …

        Returns
        -------
        Probe

        Examples
        --------
        >>> fs.probe("clip,synclr", train="progan", C="grid")  # doctest: +SKIP
        """
        chosen = ProbeOptions(features=self._names(features), **options)
        if name is not None:
            check_result_name(name)
        probed = run_probe(self.manifest, self.store, chosen)
        if name is not None:
            save_result(self.store.root, probed.result, probed.scores, probed.head)
            name_result(self.store.root, name, probed.result.digest)
        return Probe(probed.result, probed.scores, probed.head, self, chosen, dict(metrics or {}))

    def ablate(self, features: str | Sequence[str] | None = None, **options: Any) -> AblationResult:
        """Fit every subset of the features, as ``featcache ablate`` does.

        Parameters
        ----------
        features : str or sequence of str, optional
            Features; those of this set by default.
        **options
            Fields of :class:`~featcache.AblateOptions` and :class:`~featcache.ProbeOptions`.

        Returns
        -------
        AblationResult
        """
        own = {name: options.pop(name) for name in list(options)
               if name in AblateOptions.__dataclass_fields__}  # fmt: skip
        probe = ProbeOptions(features=self._names(features), **options)
        return run_ablation(self.manifest, self.store, AblateOptions(probe=probe, **own))

    def arrays(
        self,
        features: str | Sequence[str] | None = None,
        *,
        split: str | None = None,
        generators: str | Sequence[str] | None = None,
        view: str = "clean",
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.str_]]:
        """Return features, labels and sources as arrays; each content once, sorted by sample id.

        Parameters
        ----------
        features : str or sequence of str, optional
            Features, joined side by side; those of this set by default.
        split : {"train", "val", "test"}, optional
            All splits by default.
        generators : str or sequence of str, optional
            Fakes of these and the reals that are paired with them; all by default.
        view : str
            View of the images, such as ``"jpeg:70"``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
        y : ndarray of shape (n_samples,), int64
            0 real, 1 fake.
        sources : ndarray of shape (n_samples,), str
            The photograph that each sample comes from: ``groups`` of scikit-learn's splitters.

        Raises
        ------
        DataError
            If no sample is left, or one has no feature in the store.
        """
        names = set(split_list(generators))
        rows = {sample.sample_id: sample for sample in expand(self.manifest)
                if split in (None, sample.split)
                and (not names or sample.paired_with in names)}  # fmt: skip
        if not rows:
            raise DataError(
                f"No sample has split {split!r} and a generator of {sorted(names) or 'all'}."
                " Dataset.to_pandas() shows what there is."
            )
        ids = sorted(rows)
        keys = [self.store.find(name, view=view) for name in self._names(features)]
        blocks = [self.store.read(key, ids) for key in keys]
        X = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        y = np.array([rows[name].label for name in ids], dtype=np.int64)
        return X, y, np.array([rows[name].source for name in ids], dtype=np.str_)

    def _names(self, features: str | Sequence[str] | None) -> list[str]:
        return split_list(features) or self.features


@dataclass(frozen=True, repr=False)
class Probe:
    """A fitted head with its result on every generator: what :meth:`FeatureSet.probe` returns.

    Parameters
    ----------
    result : EvalResult
        Metrics, intervals and how they were made.
    scores : Scores
        Score of every test sample.
    head : SavedHead or None
        None for heads that are not linear.
    features : FeatureSet
        What it was fitted on.
    options : ProbeOptions
    metrics : dict of str to callable
        Further metrics of the user.
    """

    result: EvalResult
    scores: Scores
    head: SavedHead | None
    features: FeatureSet
    options: ProbeOptions
    metrics: Metrics

    def to_pandas(self) -> pd.DataFrame:
        """Return the metrics: a row for each generator, then the means.

        Returns
        -------
        pandas.DataFrame
            Indexed by generator; an estimate has two more columns, its ``_low`` and ``_high``.
        """
        import pandas as pd

        rows = {}
        for name, metrics in self.result.generators.items():
            rows_of = self.scores.generator == name
            further = {key: float(f(self.scores.label[rows_of], self.scores.score[rows_of]))
                       for key, f in self.metrics.items()}  # fmt: skip
            rows[name] = {"family": metrics.group, "n_real": metrics.n_real,
                          "n_fake": metrics.n_fake, **_estimates(metrics), **further}  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("generator")

    def to_latex(self, path: str | Path) -> Path:
        """Write the table of generators as LaTeX (booktabs).

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Path
        """
        from featcache.files import write_atomic
        from featcache.reports.export import latex_table
        from featcache.reports.report import probe_part

        table = probe_part(self.result, self.scores).tables[0]
        write_atomic(Path(path), latex_table("probe", table).encode())
        return Path(path)

    def report(self, path: str | Path, title: str = "") -> Path:
        """Write a self-contained HTML report.

        Parameters
        ----------
        path : str or Path
        title : str

        Returns
        -------
        Path
        """
        from featcache.reports import write_report

        title = title or f"Probe on {' + '.join(self.result.features)}"
        return write_report(self.result, self.scores, Path(path), title=title)

    def save(self, path: str | Path) -> Path:
        """Calibrate the head and write it, for ``featcache score`` and :class:`~.Detector`.

        Parameters
        ----------
        path : str or Path
            A ``.safetensors`` file.

        Returns
        -------
        Path

        Raises
        ------
        SettingsError
            If the head is not linear.
        """
        if self.head is None:
            raise SettingsError(f"A {self.result.head!r} head cannot be saved: it is not linear.")
        manifest, store = self.features.manifest, self.features.store
        return calibrate_head(self.head, manifest, store, self.options).save(Path(path))

    def __repr__(self) -> str:
        n = len(self.result.generators)
        return (
            f"Probe({' + '.join(self.result.features)}, {self.result.head}: mAP"
            f" {100 * self.result.mAP:.1f} over {n} generators)"
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.to_pandas().to_html(float_format='%.3f')}"


def scan(
    data: str | Path | Sequence[str | Path] | None = None,
    *,
    cache: str | Path | None = None,
    **settings: Any,
) -> Dataset:
    """Read which images there are, with their labels, generators and splits.

    Parameters
    ----------
    data : str, Path or sequence of them, optional
        Folders; by default those of ``featcache.toml``, or ``datasets/``.
    cache : str or Path, optional
        A store to keep the list in. By default nothing is written before :func:`extract`.
    **settings
        As the flags of ``featcache datasets scan``: ``layout``, ``source_pattern``, ``columns``
        (field to column), ``labels`` (value to ``"real"``, ``"fake"`` or ``"skip"``) …

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If labels contradict each other, or there is no image.
    SettingsError
        If a setting is unknown or there is no folder.
    """
    loaded = load_settings(data=_paths(data), **settings)
    roots = loaded.data or [Path("datasets")]
    options = ScanOptions(
        layout=loaded.layout,
        source_pattern=loaded.source_pattern,
        test_fraction=loaded.test_fraction,
        groups=loaded.groups,
        workers=loaded.workers,
        mapping=LabelMap(loaded.columns, {k.lower(): v for k, v in loaded.labels.items()}),
        own_layouts=loaded.own_layouts,
    )
    if cache is None:
        scans = [scan_tree(root, options) for root in roots]
    else:
        scans = [scan_into(Path(cache), root, options) for root in roots]
    return Dataset(scans, list(roots), options)


def extract(
    data: Dataset | str | Path,
    backbones: str | Sequence[str],
    *,
    cache: str | Path | None = None,
    weights: str | Path | Sequence[str | Path] = (),
    random_init: int | None = None,
    **options: Any,
) -> FeatureSet:
    """Run backbones over a data set and keep their features; what is there is not done again.

    Parameters
    ----------
    data : Dataset, str or Path
        What :func:`scan` returned, or a folder.
    backbones : str or sequence of str
        Names, as in ``--backbone``: ``"clip,synclr"``.
    cache : str or Path, optional
        The store; by default that of ``featcache.toml``, or ``features/``.
    weights : str, Path or sequence of them
        ``NAME=FILE``, or a file where there is one backbone only.
    random_init : int, optional
        Seed of random weights instead of trained ones.
    **options
        Fields of :class:`~featcache.ExtractOptions`: ``views``, ``device``, ``precision`` …

    Returns
    -------
    FeatureSet
    """
    from featcache.backbones import require_weights, resolve_all
    from featcache.extract import ExtractOptions
    from featcache.extract import extract as run

    dataset = data if isinstance(data, Dataset) else scan(data)
    store = FeatureStore(_store(cache))
    for root, scanned in zip(dataset.roots, dataset.scans, strict=True):
        path = manifest_path(store.root, dataset_name(root.resolve()))
        if not path.exists():
            scanned.manifest.write(path)  # digests are not computed again
        scan_into(store.root, root, dataset.options)
    names = split_list(backbones)
    specs = resolve_all(names, [str(file) for file in split_list(weights)], random_init)
    require_weights(specs)
    manifest = merge(scanned.manifest for scanned in dataset.scans)
    summaries = run(manifest, specs, store, ExtractOptions(**options))
    rejects = [reject for summary in summaries for reject in summary.rejects]
    return FeatureSet(dataset.manifest, store, [spec.name for spec in specs], rejects)


def load_features(features: str | Sequence[str], *, cache: str | Path | None = None) -> FeatureSet:
    """Open features that are in a store already; no image and no backbone is needed.

    Parameters
    ----------
    features : str or sequence of str
        Names, as in ``--features``.
    cache : str or Path, optional
        The store; by default that of ``featcache.toml``, or ``features/``.

    Returns
    -------
    FeatureSet
    """
    store = FeatureStore(_store(cache))
    return FeatureSet(load_manifests(store.root), store, split_list(features))


def compare(
    first: Probe | str,
    second: Probe | str,
    *,
    metric: str = "ap",
    cache: str | Path | None = None,
    **options: Any,
) -> RunComparison:
    """Compare two probes on the same test images: first minus second.

    Parameters
    ----------
    first : Probe or str
        The minuend; a text is a saved probe: its name, its digest, or its features.
    second : Probe or str
        The baseline.
    cache : str or Path, optional
        The store in which saved probes are looked up; that of the settings by default.
    metric : str
        One of :data:`featcache.metrics.METRICS`.
    **options
        As :func:`featcache.evaluate.comparison.compare` takes them: ``n_resamples``, ``seed`` …

    Returns
    -------
    RunComparison
        Differences by generator, by family and over all, with intervals and corrected p-values.
    """
    (a, scores_a), (b, scores_b) = (_run(probe, cache) for probe in (first, second))
    groups = {name: row.group for name, row in a.generators.items()}
    trained = sorted({*a.train.generators, *b.train.generators})
    defaults: dict[str, Any] = {"trained": trained, "baseline": b.features}
    return compare_scores(scores_a, scores_b, groups, metric, **{**defaults, **options})


def _run(probe: Probe | str, cache: str | Path | None) -> tuple[EvalResult, Scores]:
    if isinstance(probe, Probe):
        return probe.result, probe.scores
    from featcache.reports.saved import load_run

    return load_run(_store(cache), probe)


def _estimates(metrics: Any) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in ("ap", "auroc", "acc"):
        low, high = metrics.ci(name)
        values |= {name: metrics.value(name), f"{name}_low": low, f"{name}_high": high}
    return values


def _paths(data: str | Path | Sequence[str | Path] | None) -> list[Path]:
    """Return folders; a text is one path, whatever characters are in it."""
    if data is None:
        return []
    return [Path(data)] if isinstance(data, (str, Path)) else [Path(path) for path in data]


def _store(cache: str | Path | None) -> Path:
    return Path(cache) if cache is not None else load_settings().cache
