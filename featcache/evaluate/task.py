"""A probe task: the samples and feature keys that probe, ablation and transfer work on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest, expand
from featcache.datasets.columns import Texts, group_rows
from featcache.datasets.families import CONTROL
from featcache.datasets.pairings import families_of, members, restrict
from featcache.datasets.sample import OWN
from featcache.engines import Engine, open_engine
from featcache.errors import DataError, SettingsError
from featcache.evaluate import data
from featcache.evaluate.feature_rows import memory_limit, open_rows
from featcache.evaluate.model_selection import Folds, plan_folds
from featcache.evaluate.options import ProbeOptions
from featcache.files import canonical_json, digest_bytes, digest_json
from featcache.probes import head_kind
from featcache.probes.base import classes_needed
from featcache.probes.scaling import check_scaling
from featcache.probes.solver import Source
from featcache.probes.solver.sums import GRAM_ROWS_PER_COLUMN
from featcache.results import Scores
from featcache.views import parse_views

FUSIONS = ("concat", "mean-logit", "stacking")

ROWS_AT_ONCE = 1 << 16
"""Samples whose texts are hashed at once."""

SGD_ROWS = 10_000
"""Training rows below which UnivFD's SGD recipe is not suited: it takes 40 steps an epoch."""


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """The samples and feature keys of one question.

    Parameters
    ----------
    store : FeatureStore
        Store of the features.
    options : ProbeOptions
        Options of the probe.
    train_keys : list of list of FeatureKey
        For each training view the key of each feature; empty where a given head is evaluated.
    test_keys : list of list of FeatureKey
        For each test view the key of each feature.
    train_views : list of str
        Names of the training views.
    test_views : list of str
        Names of the test views.
    train : Manifest
        Training samples, each content once, sorted by sample id.
    paired : Texts
        The training generators that each training sample is paired with, ``|`` between them.
    val : Manifest
        Validation samples, sorted by sample id. A real that is paired with several generators is a
        sample of each of them.
    tests : TestSets
        Test samples by generator.
    folds : Folds or None
        How C and the threshold are validated; None without validation.
    notes : list of str
        What is left out, and warnings.
    """

    store: FeatureStore
    options: ProbeOptions
    train_keys: list[list[FeatureKey]]
    test_keys: list[list[FeatureKey]]
    train_views: list[str]
    test_views: list[str]
    train: Manifest
    paired: Texts
    val: Manifest
    tests: data.TestSets
    folds: Folds | None
    notes: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Label of each training row: every sample once per training view."""
        return np.tile(self.train.labels, len(self.train_views))

    @property
    def sources(self) -> NDArray[np.str_]:
        """Source of each training row."""
        return np.tile(self.train.source_names(), len(self.train_views))

    @property
    def train_weights(self) -> NDArray[np.float64]:
        """Weight of each training row in the whole training set (row 0) and in those of folds."""
        if self.folds is not None:
            return self.folds.train_weights
        return np.ones((1, len(self.train) * len(self.train_views)))

    @property
    def groups(self) -> dict[str, str]:
        """Family of each tested generator."""
        return {name: self.tests.families[name] for name in self.tests}

    @property
    def widths(self) -> list[int]:
        """Number of columns of each feature."""
        return [self.store.summary(key).n_features for key in self.test_keys[0]]

    @property
    def all_features(self) -> tuple[int, ...]:
        """Positions of all features."""
        return tuple(range(len(self.options.features)))

    @property
    def main_train_view(self) -> int:
        """Position of the view that a head is used with: clean, else the first training view."""
        return self.train_views.index("clean") if "clean" in self.train_views else 0

    @property
    def scaling(self) -> str:
        """How features are scaled before the head, as results report it."""
        return self.options.scaling if self.options.head == "logistic" else "own"

    def train_rows(self) -> Source:
        """Open the features of the training rows.

        Returns
        -------
        Source
            A row for each training sample and view.
        """
        ids = self.train.strings("sample_id")
        parted = self.options.engine != "local"
        memory = self.options.memory
        return open_rows(self.store, self.train_keys, ids, memory, parted, "read training features")

    def fit_bytes(self, n_heads: int) -> int:
        """Return the bytes that a solve takes with its features in memory.

        Parameters
        ----------
        n_heads : int
            Heads that are fitted in one solve.

        Returns
        -------
        int
        """
        n_rows, n_columns = len(self.train) * len(self.train_views), sum(self.widths)
        # Scaling makes a copy unless it is folded into the products. Each head has three float32
        # for a row in the solve, and a held-out logit in float64.
        folded = n_rows > GRAM_ROWS_PER_COLUMN * n_columns and self.options.scaling != "l2"
        return n_rows * (4 * (1 if folded else 2) * n_columns + 20 * n_heads)

    def within_memory(self, n_heads: int) -> ProbeTask:
        """Return the task with a limit of memory where fitting would take more than is free.

        Parameters
        ----------
        n_heads : int
            Heads that are fitted in one solve.

        Returns
        -------
        ProbeTask
            This one if a limit was given, the fit has room, or workers hold the features.
        """
        options = self.options
        if options.memory is not None or options.engine != "local" or options.head != "logistic":
            return self
        n_rows = len(self.train) * len(self.train_views)
        what = f"Fitting {n_heads:,} heads on {n_rows:,} rows"
        limit = memory_limit(self.fit_bytes(n_heads), what)
        return self if limit is None else replace(self, options=replace(options, memory=limit))

    def engine(self) -> Engine | None:
        """Open the engine whose workers hold the training features in parts.

        Returns
        -------
        Engine or None
            None where this process holds them.
        """
        options = self.options
        if options.engine == "local":
            return None
        return open_engine(options.engine, workers=options.processes, address=options.address)

    def val_rows(self) -> Source:
        """Open the features of the validation samples in the first test view.

        Returns
        -------
        Source
            A row for each validation sample.
        """
        ids = self.val.strings("sample_id")
        what = "read validation features"
        return open_rows(self.store, self.test_keys[:1], ids, self.options.memory, what=what)

    def test_ids(self) -> list[str]:
        """Return the ids of the test samples.

        Returns
        -------
        list of str
            Each once, sorted.
        """
        column = self.tests.samples.texts("sample_id")
        return column.table.texts(np.unique(column.codes))

    def test_rows(self, view: int = 0) -> Source:
        """Open the features of the test samples in one view.

        Parameters
        ----------
        view : int
            Position in ``test_views``.

        Returns
        -------
        Source
            A row for each of :meth:`test_ids`.
        """
        keys = self.test_keys[view : view + 1]
        what = f"read test features ({self.test_views[view]})"
        return open_rows(self.store, keys, self.test_ids(), self.options.memory, what=what)

    def scores(self, logits: NDArray[np.float64]) -> Scores:
        """Return the scores of a head, a row for each test sample and generator.

        Parameters
        ----------
        logits : ndarray of shape (n_test_ids,), float64
            Logit of each of :meth:`test_ids`.

        Returns
        -------
        Scores
            The probability is the sigmoid of the logit.
        """
        samples = self.tests.samples
        rows = [self.tests.rows[name] for name in self.tests]
        position = np.unique(samples.codes("sample_id"), return_inverse=True)[1].reshape(-1)
        order = np.concatenate(rows)
        texts: dict[str, NDArray[np.object_]] = {
            name: np.array(samples.strings(name), dtype=object)
            for name in ("split", "path", "sample_id")
        }
        texts["source"] = texts["sample_id"].copy()  # one object for both, as a rule
        named = samples.numbers(OWN) == 0
        texts["source"][named] = samples.subset(named).source_names()
        names = np.array(list(self.tests), dtype=object)
        logit = logits[position[order]]
        return Scores(
            generator=np.repeat(names, [len(part) for part in rows]),
            **{name: values[order] for name, values in texts.items()},
            label=samples.labels[order],
            score=expit(logit),
            logit=logit,
        )

    def digest(self, **question: object) -> str:
        """Return the digest of all that determines a result.

        Parameters
        ----------
        **question : object
            What is asked about the task, as JSON values.

        Returns
        -------
        str
            Name of the folder that the result is saved in.
        """
        options = {**asdict(self.options), "memory": None}
        # Keys are hashed instead of what selects them; where a head is fitted changes no result.
        for name in ("wanted", "weights", "engine", "address", "processes"):
            del options[name]
        val, test = self.val, self.tests.samples
        document = {
            "version": __version__,
            "options": options,
            "keys": [[k.fingerprint for k in view] for view in (*self.train_keys, *self.test_keys)],
            "train": _digest_rows(self.train, self.paired),
            "val": _digest_rows(val, val.texts("paired_with")),
            "test": _digest_rows(test, test.texts("paired_with")),
        }
        return digest_json({**document, **question})


def _digest_rows(samples: Manifest, paired: Texts) -> str:
    """Return the digest of all that determines a result of each sample, whatever their order.

    That is content, label, generators and source. Long lists of generators enter by their digest.
    """
    lists = {
        code: "|".join(sorted(members(text))) if len(text) < 1000
        else digest_bytes("|".join(sorted(members(text))).encode("utf-8", "surrogateescape"))
        for code, text in paired.values().items()
    }  # fmt: skip
    rank = np.zeros(len(paired.table), np.intp)
    by_text = sorted(lists, key=lists.__getitem__)
    rank[by_text] = np.arange(len(by_text))
    order = np.lexsort((samples.labels, rank[paired.codes], samples.codes("sample_id")))
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = order[start : start + ROWS_AT_ONCE]
        part = samples.subset(rows)
        names = [lists[code] for code in paired.codes[rows].tolist()]
        columns = (part.strings("sample_id"), part.labels.tolist(), names, part.source_names())
        digest.update(canonical_json(list(zip(*columns, strict=True))).encode())
    return digest.hexdigest()


def prepare_task(
    manifest: Manifest,
    store: FeatureStore,
    options: ProbeOptions,
    given: list[FeatureKey] | None = None,
) -> ProbeTask:
    """Find the feature keys and select the samples of a question.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        Options of the probe.
    given : list of FeatureKey, optional
        Keys of a head that is evaluated instead of fitted: training samples need no features then.

    Returns
    -------
    ProbeTask
        Samples, keys and folds.

    Raises
    ------
    MissingFeaturesError
        If a feature, or a sample of it, is not in the store.
    DataError
        If there are no training or test samples, or C cannot be validated.
    SettingsError
        If an option names something that does not exist.
    """
    _check_options(options)
    train_views, test_views = (
        [view.name for text in texts for view in parse_views(text)]
        for texts in (options.train_views, options.test_views)
    )
    train_keys: list[list[FeatureKey]] = []
    if given:
        names = [key.name for key in given]
        options = replace(options, validate=False, features=names)
        test_keys, test_views = [given], test_views[:1]
    else:
        train_keys = [data.find_keys(store, options, view) for view in train_views]
        test_keys = [data.find_keys(store, options, view) for view in test_views]
        options = replace(options, features=data.mark_foreign(options.features, test_keys[0]))
    notes: list[str] = []

    def complete(samples: Manifest, views: Sequence[list[FeatureKey]]) -> Manifest:
        needed = [key for view in views for key in view]
        return data.complete_samples(samples, store, needed, notes, options.intersection)

    keys = {key.fingerprint: key for view in (*train_keys, *test_keys) for key in view}
    samples = data.usable_samples(manifest, store, keys.values(), notes)
    if not given:  # keys that training and testing share must have all samples
        trained = {key.fingerprint for view in train_keys for key in view}
        samples = complete(samples, [[k for v in test_keys for k in v if k.fingerprint in trained]])
    rows = data.training_rows(samples, options.train, classes_needed(options.head))
    # Samples are sorted by id because shards hold ranges of ids: streaming reads them in order.
    unique, paired = data.unique_samples(rows)
    train = complete(unique, train_keys)
    paired = paired.subset(np.isin(unique.codes("sample_id"), train.codes("sample_id")))
    n_rows = len(train) * len(train_views)
    if options.head == "univfd-sgd" and n_rows < SGD_ROWS:
        notes.append(
            f"The head univfd-sgd takes short steps and stops early: on {n_rows:,} training images "
            "it hardly leaves its random start (UnivFD trains on 720,000). The head logistic finds "
            "the optimum."
        )
    trained_on = {name for text in paired.values().values() for name in members(text)}
    val = _validation_samples(samples, trained_on)
    val = complete(val, test_keys[:1]) if options.validate else val.subset(np.zeros(len(val), bool))
    tests = data.test_sets(
        complete(samples.subset(samples.is_text("split", "test")), test_keys), notes
    )
    notes += data.leak_notes(train, tests.samples)
    if all(tests.families[name] == CONTROL for name in tests):
        raise DataError("The test set holds controls only, and no generator's fakes.")
    folds = None
    if options.validate:
        folds = plan_folds(train, val, paired, len(train_views), options.n_folds)
        leaks = (
            data.validation_leaks(train, val, tests.samples) if folds and folds.on_val_split else []
        )
        notes += leaks
        _check_selection(options, folds, leaks)
    return ProbeTask(
        store=store,
        options=options,
        train_keys=train_keys,
        test_keys=test_keys,
        train_views=train_views,
        test_views=test_views,
        train=train,
        paired=paired,
        val=val,
        tests=tests,
        folds=folds,
        notes=list(dict.fromkeys(notes)),
    )


def _validation_samples(samples: Manifest, generators: set[str]) -> Manifest:
    """Return the validation samples of the training generators, sorted by id and generator."""
    val = samples.subset(samples.is_text("split", "val"))
    families = families_of(val)
    val = expand(restrict(val, {name for name in generators if families.get(name) != CONTROL}))
    names = val.texts("paired_with")
    rank = np.zeros(len(names.table), np.int64)
    by_name = sorted(names.values().items(), key=lambda item: item[1])
    rank[[code for code, _ in by_name]] = np.arange(len(by_name))
    # Of a content that occurs twice with one generator the last counts; groups are in this order.
    last, _ = group_rows(val.codes("sample_id")[::-1], rank[names.codes][::-1])
    return val.subset(len(val) - 1 - last)


def _check_selection(options: ProbeOptions, folds: Folds | None, leaks: list[str]) -> None:
    """Refuse a grid of C where nothing independent is there to choose on."""
    if len(options.grid) < 2:
        return
    if folds is None:
        raise DataError(
            "C cannot be chosen: there is no val split, and no part of the training set can be held"
            " out with both classes on both sides (photographs stay together). Name one value, e.g."
            " --C 1."
        )
    if leaks:
        raise DataError(
            f"C cannot be chosen on this val split. {' '.join(leaks)} Name one value (--C 1), "
            "or make a val split of other photographs."
        )


def _check_options(options: ProbeOptions) -> None:
    """Refuse options that name something unknown or do not go together."""
    head_kind(options.head)  # an unknown name or parameter is an error
    check_scaling(options.scaling)
    if options.engine != "local" and options.head != "logistic":
        raise SettingsError(f"The head {options.head} is fitted in one process: --engine local.")
    if options.fusion not in FUSIONS:
        raise SettingsError(f"fusion = {options.fusion!r} is not one of {', '.join(FUSIONS)}.")
    for C in options.grid or [options.C]:
        if not (np.isfinite(C) and C > 0):
            raise SettingsError(f"C = {C} is not allowed: it must be a positive number.")
