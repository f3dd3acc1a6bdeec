"""What probe and ablation share: the samples and keys of a question, its heads, and their
scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, Sample
from featcache.datasets.families import CONTROL
from featcache.engines import Engine, open_engine
from featcache.errors import DataError, SettingsError
from featcache.evaluate import data
from featcache.evaluate.data import open_rows
from featcache.evaluate.model_selection import Folds, cannot_choose, plan_folds
from featcache.evaluate.options import ProbeOptions
from featcache.files import digest_json
from featcache.probes import head_kind
from featcache.probes.base import classes_needed
from featcache.probes.scaling import check_scaling
from featcache.probes.solver import Source
from featcache.results import Scores
from featcache.views import parse_views

FUSIONS = ("concat", "mean-logit", "stacking")

SGD_ROWS = 10_000
"""Fewer rows are not what the recipe of UnivFD is made for: 40 steps an epoch."""


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """The samples and keys of a question.

    Parameters
    ----------
    store : FeatureStore
    options : ProbeOptions
    train_keys, test_keys : list of list of FeatureKey
        For each view the key of each feature.
    test_views : list of str
    train, val : list of Sample
        Each content once.
    paired_generators : dict of str to list of str
        By the id of a training sample the training generators that it serves.
    tests : dict of str to list of Sample
        By generator.
    folds : Folds or None
    notes : list of str
    """

    store: FeatureStore
    options: ProbeOptions
    train_keys: list[list[FeatureKey]]
    test_keys: list[list[FeatureKey]]
    train_views: list[str]
    test_views: list[str]
    train: list[Sample]
    paired_generators: dict[str, list[str]]
    val: list[Sample]
    tests: dict[str, list[Sample]]
    folds: Folds | None
    notes: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of the training rows: every sample once per training view."""
        return np.tile(data.labels(self.train), len(self.train_views))

    @property
    def sources(self) -> NDArray[np.str_]:
        """Photograph of each training row."""
        return np.tile([data.source_of(sample) for sample in self.train], len(self.train_views))

    @property
    def tasks(self) -> NDArray[np.float64]:
        """Weights of the training rows in each training set; the first is the whole."""
        if self.folds is not None:
            return self.folds.tasks
        return np.ones((1, len(self.train) * len(self.train_views)))

    @property
    def groups(self) -> dict[str, str]:
        """Family of each tested generator."""
        return {name: rows[0].family for name, rows in self.tests.items()}

    @property
    def widths(self) -> list[int]:
        """Width of each feature."""
        return [self.store.summary(key).n_features for key in self.test_keys[0]]

    def train_rows(self) -> Source:
        """Open the features of the training rows.

        Returns
        -------
        Source
        """
        ids = [sample.sample_id for sample in self.train]
        parted = self.options.engine != "local"
        return open_rows(self.store, self.train_keys, ids, self.options.memory, parted)

    def engine(self) -> Engine | None:
        """Return what holds the training features in parts; None where they are held here.

        Returns
        -------
        Engine | None
            What holds the training features in parts.
        """
        options = self.options
        if options.engine == "local":
            return None
        return open_engine(options.engine, workers=options.processes, address=options.address)

    def val_rows(self) -> Source:
        """Open the features of the validation split, in the first test view.

        Returns
        -------
        Source
        """
        ids = [sample.sample_id for sample in self.val]
        return open_rows(self.store, self.test_keys[:1], ids, self.options.memory)

    def test_ids(self) -> list[str]:
        """Return the ids of the test samples, each once.

        Returns
        -------
        list[str]
            The ids of the test samples, each once.
        """
        return sorted({s.sample_id for rows in self.tests.values() for s in rows})

    def test_rows(self, view: int = 0) -> Source:
        """Open the features of :meth:`test_ids` in a test view.

        Parameters
        ----------
        view : int
            View whose features are used.

        Returns
        -------
        Source
        """
        keys = self.test_keys[view : view + 1]
        return open_rows(self.store, keys, self.test_ids(), self.options.memory)

    def scores(self, logits: NDArray[np.float64]) -> Scores:
        """Return one row per test sample and generator from the logits of :meth:`test_ids`.

        Parameters
        ----------
        logits : ndarray of float64
            Logits of shape (n_samples,).

        Returns
        -------
        Scores
            One row per test sample and generator from the logits of :meth:`test_ids`.
        """
        by_id = dict(zip(self.test_ids(), logits.tolist(), strict=True))
        rows = [(name, sample) for name, samples in self.tests.items() for sample in samples]
        samples = [sample for _, sample in rows]
        logit = np.array([by_id[sample.sample_id] for sample in samples])
        return Scores(
            generator=_texts([name for name, _ in rows]),
            split=_texts([sample.split for sample in samples]),
            path=_texts([sample.path for sample in samples]),
            sample_id=_texts([sample.sample_id for sample in samples]),
            source=_texts([data.source_of(sample) for sample in samples]),
            label=data.labels(samples),
            score=np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit))),
            logit=logit,
        )

    def digest(self, **more: object) -> str:
        """Return the digest of all that determines the result.

        Parameters
        ----------
        **more : object
            Further fields of the question.

        Returns
        -------
        str
            The digest of all that determines the result.
        """
        options = {**asdict(self.options), "memory": None}
        del options["wanted"], options["weights"]  # they found the keys, which say it all
        del options["engine"], options["address"], options["processes"]  # the answer is the same
        names = {s.sample_id: s.paired_with for s in self.val}
        names |= {
            sample_id: "+".join(paired) for sample_id, paired in self.paired_generators.items()
        }
        rows = [
            (s.sample_id, s.label, names[s.sample_id], data.source_of(s))
            for s in (*self.train, *self.val)
        ]
        question = [
            (name, s.sample_id, s.label, data.source_of(s))
            for name, ss in self.tests.items()
            for s in ss
        ]
        keys = [[key.fingerprint for key in view] for view in (*self.train_keys, *self.test_keys)]
        parts = {"train": digest_json(sorted(rows)), "test": digest_json(sorted(question))}
        return digest_json(
            {"version": __version__, "options": options, "keys": keys, **parts, **more}
        )


def prepare_task(
    manifest: Manifest,
    store: FeatureStore,
    options: ProbeOptions,
    given: list[FeatureKey] | None = None,
) -> ProbeTask:
    """Find the keys and samples of a question.

    ``given`` are the keys of a head that is evaluated, not fitted: training samples need no
    features then.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    store : FeatureStore
        Feature store.
    options : ProbeOptions
        Settings; their own documentation names every field.
    given : list[FeatureKey] | None
        Keys to use; by default they are looked up.

    Returns
    -------
    ProbeTask

    Raises
    ------
    MissingFeaturesError
        If a feature or a sample of it is not in the store.
    DataError
        If there are no training or test samples.
    SettingsError
        If an option names something that does not exist.
    """
    _check(options)
    train_views, test_views = _view_names(options.train_views), _view_names(options.test_views)
    train_keys = [] if given else [data.find_keys(store, options, view) for view in train_views]
    test_keys = [given] if given else [data.find_keys(store, options, view) for view in test_views]
    if given:
        names = [key.name for key in given]
        test_views, options = test_views[:1], replace(options, validate=False, features=names)
    notes: list[str] = []
    every = {key.fingerprint: key for view in (*train_keys, *test_keys) for key in view}.values()
    samples = data.usable(manifest, store, every, notes)
    if not given:  # what training and testing both need, all samples need
        trained = {key.fingerprint for view in train_keys for key in view}
        both = [key for view in test_keys for key in view if key.fingerprint in trained]
        samples = data.complete(samples, store, both, notes, options.intersection)
    rows = data.training_rows(samples, options.train, classes_needed(options.head))
    train, paired = data.unique_samples(rows), data.paired_generators(rows)
    train = _complete(train, store, train_keys, notes, options)
    train.sort(key=lambda sample: sample.sample_id)  # as shards lie: streaming reads them in order
    notes += _head_notes(options.head, len(train) * len(train_views))
    generators = {name for names in paired.values() for name in names}
    val = [
        s
        for s in samples
        if s.split == "val" and s.paired_with in generators and s.family != CONTROL
    ]
    # A real that is paired with several generators is a negative of each of them.
    val = list({(sample.sample_id, sample.paired_with): sample for sample in val}.values())
    val.sort(key=lambda sample: (sample.sample_id, sample.paired_with))
    val = _complete(val, store, test_keys[:1], notes, options) if options.validate else []
    tested = [sample for sample in samples if sample.split == "test"]
    tests = data.test_sets(_complete(tested, store, test_keys, notes, options), notes)
    notes += data.leak_notes(train, [sample for rows in tests.values() for sample in rows])
    if all(rows[0].family == CONTROL for rows in tests.values()):
        raise DataError("The test set holds controls only, and no generator's fakes.")
    folds = None
    if options.validate:
        folds = plan_folds(train, val, paired, len(train_views), options.n_folds)
    if folds is None and options.validate and len(options.grid) > 1:
        raise cannot_choose()
    if folds is not None and folds.split_by == "val":
        tested = [sample for rows in tests.values() for sample in rows]
        leaks, leaking = data.validation_leaks(train, val, tested)
        notes += leaks
        if leaking and len(options.grid) > 1:
            raise DataError(
                f"C cannot be chosen on this val split. {' '.join(leaks)} Name one value (--C 1), "
                "or make a val split of other photographs."
            )
    return ProbeTask(
        store=store,
        options=options,
        train_keys=train_keys,
        test_keys=test_keys,
        train_views=train_views,
        test_views=test_views,
        train=train,
        paired_generators=paired,
        val=val,
        tests=tests,
        folds=folds,
        notes=list(dict.fromkeys(notes)),
    )


def _complete(
    samples: list[Sample],
    store: FeatureStore,
    keys: Sequence[list[FeatureKey]],
    notes: list[str],
    options: ProbeOptions,
) -> list[Sample]:
    flat = [key for view in keys for key in view]
    return data.complete(samples, store, flat, notes, options.intersection)


def _head_notes(head: str, n_rows: int) -> list[str]:
    """Return what a head should not be asked with so few training rows."""
    if head != "univfd-sgd" or n_rows >= SGD_ROWS:
        return []
    note = (
        f"The head univfd-sgd takes short steps and stops early: on {n_rows:,} training images it"
        " hardly leaves its random start (UnivFD trains on 720,000). The head logistic finds the"
        " optimum."
    )
    return [note]


def _check(options: ProbeOptions) -> None:
    head_kind(options.head)  # an unknown name or parameter is an error
    check_scaling(options.scaling)
    if options.engine != "local" and options.head != "logistic":
        raise SettingsError(f"The head {options.head} is fitted in one process: --engine local.")
    if options.fusion not in FUSIONS:
        raise SettingsError(f"fusion = {options.fusion!r} is not one of {', '.join(FUSIONS)}.")
    for C in options.grid or [options.C]:
        if not (np.isfinite(C) and C > 0):
            raise SettingsError(f"C = {C} is not allowed: it must be a positive number.")


def _view_names(texts: list[str]) -> list[str]:
    """Return the names of views, ``univfd-train:4`` as its four draws."""
    return [view.name for text in texts for view in parse_views(text)]


def _texts(values: list[str]) -> NDArray[np.object_]:
    return np.array(values, dtype=object)
