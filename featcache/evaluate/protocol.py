"""One probe run: fit a head on the training samples and evaluate it on every generator."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError
from featcache.evaluate import data
from featcache.evaluate.diagnosis import diagnose
from featcache.evaluate.fitting import FittedHead, fit_feature_sets, predict_logits, score_head
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.scoring import Evaluation, ap_at_priors, group_results, mean_result
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.metrics import CI_METHOD
from featcache.probes import Linear, SavedHead, head_kinds
from featcache.progress import count_passes
from featcache.results import EvalResult, PassCount, Scores, ViewResult


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What one probe run returns.

    Parameters
    ----------
    result : EvalResult
        Metrics, intervals and how they were made.
    scores : Scores
        Score of every test sample in the first test view.
    head : SavedHead or None
        The head; None for heads that are not linear (``knn``, ``oneclass``).
    """

    result: EvalResult
    scores: Scores
    head: SavedHead | None

    def saveable_head(self) -> SavedHead:
        """Return the head if it can be saved.

        Returns
        -------
        SavedHead
            A linear head.

        Raises
        ------
        SettingsError
            If the head is not linear.
        """
        if self.head is None:
            raise SettingsError(
                f"A {self.result.head!r} head cannot be saved: it is not linear in the features."
                " Heads that can be: logistic,"
                f" {', '.join(name for name, kind in head_kinds().items() if kind.linear)}."
            )
        return self.head


def evaluate(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> tuple[EvalResult, Scores]:
    """Fit a probe and evaluate it: :func:`run_probe` without the head.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        What to fit and how to evaluate it.

    Returns
    -------
    result : EvalResult
        Metrics, intervals and how they were made.
    scores : Scores
        Score of every test sample in the first test view.
    """
    probed = run_probe(manifest, store, options)
    return probed.result, probed.scores


def run_probe(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions, head: SavedHead | None = None
) -> Probed:
    """Fit a head on the training samples and evaluate it on every generator's test samples.

    Parameters
    ----------
    manifest : Manifest
        All samples.
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
        What to fit and how to evaluate it.
    head : SavedHead, optional
        Evaluate this head instead of fitting one. Its feature keys are used, and only test samples
        need features.

    Returns
    -------
    Probed
        Result, scores and head.

    Raises
    ------
    MissingFeaturesError
        If a feature, or a sample of it, is not in the store.
    DataError
        If the training set, or every test set, lacks a class.
    SettingsError
        If an option names something that does not exist, or ``head`` names no features.
    """
    with count_passes() as passes:
        probed = _fit_and_evaluate(manifest, store, options, head)
    counts = PassCount.of_steps(passes)
    return replace(probed, result=replace(probed.result, passes=counts))


def _fit_and_evaluate(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions, head: SavedHead | None
) -> Probed:
    """Fit a head or take the given one, evaluate it in every test view, and describe both."""
    if head is None:
        task = prepare_task(manifest, store, options)
        fitted = fit_feature_sets(task, [task.all_features])[0]
        digest = task.digest()
    else:
        if not head.feature_keys:
            raise SettingsError("The head does not say which features it is for.")
        keys = [FeatureKey(fields) for fields in head.feature_keys]
        task = prepare_task(manifest, store, options, keys)
        fitted = FittedHead(
            features=task.all_features,
            C=math.nan,
            scorer=head,
            certificate=None,
            selection=None,
            by_C={},
        )
        digest = task.digest(head=[*head.weight.tolist(), head.bias])
    scores = [
        task.scores(predict_logits(task.test_rows(view), [fitted.features], [fitted.scorer])[0])
        for view in range(len(task.test_views))
    ]
    evaluations = [score_head(task, fitted, view_scores) for view_scores in scores]
    result = _describe(task, fitted, evaluations[0], scores[0], digest)
    views = {
        name: _describe_view(name, evaluation)
        for name, evaluation in zip(task.test_views[1:], evaluations[1:], strict=True)
    }
    result = replace(result, views=views)
    if head is not None:
        meta = head.meta
        result = replace(
            result, head=str(meta.get("head", "given")), scaling=str(meta.get("scaling", ""))
        )
    result = replace(result, diagnosis=diagnose(result))
    return Probed(
        result=result, scores=scores[0], head=head or _to_saved_head(task, fitted, result)
    )


def _describe(
    task: ProbeTask, fitted: FittedHead, evaluation: Evaluation, scores: Scores, digest: str
) -> EvalResult:
    """Return the evaluation in the first test view as plain data."""
    options = task.options
    training = data.describe_training(task.train, task.train_views)
    means = evaluation.means()
    unseen = [name for name in evaluation.generators if name not in training.generators]
    at_priors = {}
    if options.priors:
        at_priors = ap_at_priors(
            scores,
            options.priors,
            groups=task.groups,
            n_resamples=options.n_resamples,
            seed=options.seed,
        )
    return EvalResult(
        features=options.features,
        n_features=sum(task.widths),
        train=training,
        C=fitted.C,
        threshold=options.threshold,
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        groups=group_results(evaluation, training.generators),
        generators=evaluation.generators,
        controls=evaluation.controls,
        keys=[dict(key.fields) for key in task.test_keys[0]],
        notes=task.notes,
        versions={"featcache": __version__, "numpy": np.__version__},
        head=options.head,
        scaling=task.scaling,
        means=means,
        unseen=mean_result(evaluation, unseen) if unseen else None,
        val_threshold=fitted.val_threshold,
        prior=options.prior,
        at_priors={f"{prior:g}": table for prior, table in at_priors.items()},
        certificate=fitted.certificate,
        selection=fitted.selection,
        digest=digest,
        ci_method=CI_METHOD,
        mAP_generators_ci=evaluation.estimates.ci_over_generators(
            "ap", evaluation.generators, options.seed
        ),
    )


def _describe_view(name: str, evaluation: Evaluation) -> ViewResult:
    """Return the evaluation in a further test view as plain data."""
    means = evaluation.means()
    return ViewResult(
        view=name,
        mAP=means["ap"].value,
        mean_acc=means["acc"].value,
        mAP_ci=means["ap"].ci,
        mean_acc_ci=means["acc"].ci,
        generators={**evaluation.generators, **evaluation.controls},
        means=means,
    )


def _to_saved_head(task: ProbeTask, fitted: FittedHead, result: EvalResult) -> SavedHead | None:
    """Return a linear head with what a user of it must know; None for other heads."""
    scorer = fitted.scorer
    if not isinstance(scorer, Linear):
        return None
    keys = task.train_keys[task.main_train_view]
    meta: dict[str, Any] = {
        "head": result.head,
        "scaling": result.scaling,
        "C": result.C,
        "features": result.features,
        "train": asdict(result.train),
        "versions": result.versions,
        "result": result.digest,
        "val_threshold": None if math.isnan(result.val_threshold) else result.val_threshold,
    }
    return SavedHead(
        weight=scorer.weight,
        bias=scorer.bias,
        feature_keys=[dict(key.fields) for key in keys],
        widths=scorer.widths,
        threshold=result.threshold,
        l2=scorer.l2,
        meta=meta,
    )
