"""One probe run: fit on the training samples, score and judge every generator's test samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache._version import __version__
from featcache.cache import FeatureKey, FeatureStore
from featcache.datasets import Manifest
from featcache.errors import SettingsError
from featcache.evaluate import data
from featcache.evaluate.diagnosis import diagnose
from featcache.evaluate.fitting import (
    FittedHead,
    HeadFit,
    HeadSpec,
    fit_feature_sets,
    logits_of,
    score_head,
)
from featcache.evaluate.options import ProbeOptions
from featcache.evaluate.scoring import Evaluation, ap_at_priors, group_results, unseen_result
from featcache.evaluate.task import ProbeTask, prepare_task
from featcache.probes import Linear, SavedHead, Scorer, head_kinds
from featcache.results import EvalResult, Mean, Scores, ViewResult


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What one run made.

    Parameters
    ----------
    result : EvalResult
    scores : Scores
        Of the first test view.
    head : SavedHead or None
        None for heads that are not linear (``knn``, ``oneclass``).
    """

    result: EvalResult
    scores: Scores
    head: SavedHead | None

    def saveable_head(self) -> SavedHead:
        """Return the head, or raise an error that says why it cannot be saved.

        Returns
        -------
        SavedHead
            The head, or raise an error that says why it cannot be saved.

        Raises
        ------
        SettingsError
            If a setting or a flag is not valid.
        """
        if self.head is None:
            raise SettingsError(
                f"A {self.result.head!r} head cannot be saved: it is not linear in the features."
                " Heads that can be: logistic,"
                f" {', '.join(n for n, k in head_kinds().items() if k.linear)}."
            )
        return self.head


def evaluate(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions
) -> tuple[EvalResult, Scores]:
    """Fit a probe and judge it; :func:`run_probe` without the head.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    store : FeatureStore
        Feature store.
    options : ProbeOptions
        Settings; their own documentation names every field.

    Returns
    -------
    tuple[EvalResult, Scores]
    """
    probed = run_probe(manifest, store, options)
    return probed.result, probed.scores


def run_probe(
    manifest: Manifest, store: FeatureStore, options: ProbeOptions, head: SavedHead | None = None
) -> Probed:
    """Fit a probe on the training samples and judge it on every generator's test samples.

    Parameters
    ----------
    manifest : Manifest
    store : FeatureStore
        Must hold the features of all usable samples.
    options : ProbeOptions
    head : SavedHead, optional
        Judge this head instead of fitting one; its feature keys hold, and only test samples need
        them.

    Returns
    -------
    Probed

    Raises
    ------
    MissingFeaturesError
        If a feature or a sample of it is not in the store.
    DataError
        If the training set, or every test set, lacks a class.
    """
    study = prepare_task(manifest, store, options, _keys_of(head))
    fitted = (
        FittedHead(
            blocks=_all(study.options),
            C=math.nan,
            scorer=head,
            certificate=None,
            selection=None,
            by_C={},
        )
        if head
        else fit_feature_sets(study, [_all(study.options)])[0]
    )
    logits = [_test_logits(study, fitted.scorer, view) for view in range(len(study.test_views))]
    scores = [study.scores(row) for row in logits]
    evaluations = [score_head(study, fitted, view_logits) for view_logits in scores]
    digest = (
        study.digest(head=([] if head is None else [*head.weight.tolist(), head.bias]))
        if head
        else study.digest()
    )
    result = _describe(study, fitted, evaluations[0], digest)
    if head:
        result = replace(
            result,
            C=math.nan,
            head=str(head.meta.get("head", "given")),
            scaling=str(head.meta.get("scaling", "")),
        )
    views = {
        name: _view(name, view_logits)
        for name, view_logits in zip(study.test_views[1:], evaluations[1:], strict=True)
    }
    result = replace(result, views=views, at_priors=_at_priors(study, scores[0]))
    result = replace(result, diagnosis=diagnose(result))
    return Probed(result=result, scores=scores[0], head=head or _saved(fitted, result, study))


def _keys_of(head: SavedHead | None) -> list[FeatureKey] | None:
    if head is None:
        return None
    if not head.feature_keys:
        raise SettingsError("The head does not say which features it is for.")
    return [FeatureKey(fields) for fields in head.feature_keys]


def _all(options: ProbeOptions) -> tuple[int, ...]:
    return tuple(range(len(options.features)))


def _test_logits(study: ProbeTask, scorer: Scorer, view: int) -> NDArray[np.float64]:
    cell = HeadSpec(_all(study.options), study.options.C, 0)
    return np.asarray(logits_of(study.test_rows(view), [cell], [HeadFit(scorer, None)])[0])


def _describe(
    study: ProbeTask, fitted: FittedHead, evaluation: Evaluation, digest: str
) -> EvalResult:
    options = study.options
    training = data.describe_training(study.train, study.train_views)
    means = evaluation.means()
    return EvalResult(
        features=options.features,
        n_features=sum(study.widths),
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
        keys=[dict(key.fields) for key in study.test_keys[0]],
        notes=study.notes,
        versions={"featcache": __version__, "numpy": np.__version__},
        head=options.head,
        scaling=options.scaling if options.head == "logistic" else "own",
        means=means,
        unseen=unseen_result(evaluation, training.generators),
        val_threshold=fitted.val_threshold,
        prior=options.prior,
        certificate=fitted.certificate,
        selection=fitted.selection,
        digest=digest,
    )


def _at_priors(study: ProbeTask, scores: Scores) -> dict[str, dict[str, Mean]]:
    options = study.options
    if not options.priors:
        return {}
    values = ap_at_priors(
        scores,
        options.priors,
        groups=study.groups,
        n_resamples=options.n_resamples,
        seed=options.seed,
    )
    return {f"{prior:g}": table for prior, table in values.items()}


def _view(name: str, evaluation: Evaluation) -> ViewResult:
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


def _trained_keys(study: ProbeTask) -> Sequence[FeatureKey]:
    """Return the keys of the view that a head is used with: the clean one if it was trained on
    it, else the first that it was trained on.
    """
    clean = [i for i, view in enumerate(study.train_views) if view == "clean"]
    return study.train_keys[clean[0] if clean else 0]


def _saved(fitted: FittedHead, result: EvalResult, study: ProbeTask) -> SavedHead | None:
    scorer = fitted.scorer
    if not isinstance(scorer, Linear):
        return None
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
        feature_keys=[dict(key.fields) for key in _trained_keys(study)],
        widths=scorer.widths,
        threshold=result.threshold,
        l2=scorer.l2,
        meta=meta,
    )
