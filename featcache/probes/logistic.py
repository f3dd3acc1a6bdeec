"""The linear probe as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from featcache.errors import FeatcacheWarning
from featcache.probes.base import Linear
from featcache.probes.fit import fit_heads
from featcache.probes.solver import Arrays, HeadBatch


class LogisticProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # untyped bases
    """Ridge-penalised logistic regression for two classes, solved to a proven distance from the
    optimum.

    Minimises ``½‖w‖² + C Σ_i s_i log(1 + exp(-ỹ_i (x_i·w + b)))`` with x scaled by ``scaling`` and
    b not penalised: scikit-learn's convention, so with ``scaling="none"`` the same C gives the same
    head.

    Parameters
    ----------
    C : float > 0
        Inverse strength of the penalty.
    scaling : {"standardise", "none", "block-rms", "l2"}
        What is done to the columns before the penalty applies; folded into ``coef_``.
    widths : list of int, optional
        Widths of the features that are joined, for the policies that go by block. One by default.
    fit_intercept : bool
    class_weight : dict, "balanced" or None
    tol : float, optional
        Share of the objective by which it may exceed the minimum: by default 1e-14 in float64, 1e-9
        in float32.
    max_iter : int

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
    coef_ : ndarray of shape (1, n_features)
        For raw columns (after the division by norms with ``scaling="l2"``).
    intercept_ : ndarray of shape (1,)
    certificate_ : Certificate
        How near the optimum the fit is.
    n_iter_ : ndarray of shape (1,)
    n_features_in_ : int

    Examples
    --------
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> LogisticProbe(C=1.0, scaling="none").fit(X, y).predict([[0.4], [2.6]])
    array([0, 1])
    """

    def __init__(
        self,
        C: float = 1.0,
        *,
        scaling: str = "standardise",
        widths: list[int] | None = None,
        fit_intercept: bool = True,
        class_weight: Any = None,
        tol: float | None = None,
        max_iter: int = 300,
    ) -> None:
        self.C = C
        self.scaling = scaling
        self.widths = widths
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the head.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 stays float32 in the products with the data; everything else is float64.
        y : array-like of shape (n_samples,)
            Two classes; the greater one is the positive.
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        Self

        Raises
        ------
        ValueError
            If an argument is out of range.
        """
        if not self.C > 0:
            raise ValueError(f"C must be above 0, not {self.C!r}.")
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        labels = self._labels(y)
        weight = None
        if sample_weight is not None or self.class_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            shares = compute_class_weight(
                self.class_weight, classes=self.classes_, y=y, sample_weight=weight
            )
            weight = (weight * shares[labels])[None]
        widths = self.widths or [X.shape[1]]
        if sum(widths) != X.shape[1]:
            raise ValueError(f"widths {widths} do not add up to {X.shape[1]} features.")
        blocks = np.split(X, np.cumsum(widths)[:-1], axis=1)
        heads = HeadBatch(
            uses=np.ones((1, len(widths)), bool),
            C=np.array([float(self.C)]),
            task=np.zeros(1, np.intp),
            intercept=self.fit_intercept,
        )
        fitted = fit_heads(
            Arrays(blocks),
            labels[None],
            heads,
            weights=weight,
            scaling=self.scaling,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        self._fitted, self.certificate_ = fitted, fitted.certificates[0]
        self.coef_, self.intercept_ = fitted.weight, fitted.bias
        self.n_iter_ = np.array([self.certificate_.n_iter])
        if not self.certificate_.converged:
            message = (
                f"The fit at C={self.C} stopped at a relative gap of {self.certificate_.gap:.1e}."
            )
            warnings.warn(message, FeatcacheWarning, stacklevel=2)
        return self

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the logit of the positive class, shape (n_samples,).

        Parameters
        ----------
        X : Any
            Features of shape (n_samples, n_features).

        Returns
        -------
        ndarray of float64
            The logit of the positive class, shape (n_samples,).
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if self._fitted.l2:
            stops = np.cumsum(self.widths or [X.shape[1]])[:-1]
            parts = np.split(X, stops, axis=1)
            X = np.concatenate(
                [p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12) for p in parts],
                axis=1,
            )
        return np.asarray(X @ self.coef_[0] + self.intercept_[0])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities of both classes, shape (n_samples, 2).

        Parameters
        ----------
        X : Any
            Features of shape (n_samples, n_features).

        Returns
        -------
        ndarray of float64
            The probabilities of both classes, shape (n_samples, 2).
        """
        logit = self.decision_function(X)
        fake = 0.5 * (1.0 + np.tanh(0.5 * logit))
        return np.stack([1 - fake, fake], axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the more probable class of each row.

        Parameters
        ----------
        X : Any
            Features of shape (n_samples, n_features).

        Returns
        -------
        ndarray
            The more probable class of each row.
        """
        check_is_fitted(self)
        return np.asarray(self.classes_[(self.decision_function(X) > 0).astype(int)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _labels(self, y: Any) -> NDArray[np.int64]:
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                "Only binary classification is supported. The type of the target is multiclass."
            )
        if len(self.classes_) < 2:
            raise ValueError(
                f"A probe needs both classes; y has one class only: {self.classes_[0]!r}."
            )
        return np.asarray(labels, dtype=np.int64)


def fit_logistic(features: NDArray[np.float32], labels: NDArray[np.int64], C: float) -> Linear:
    """Return the standardised logistic head of samples, its weights in raw feature space.

    Parameters
    ----------
    features : ndarray of float32
        Features of shape (n_samples, n_features).
    labels : ndarray of int64
        Labels of shape (n_samples,): 0 real, 1 fake.
    C : float
        Inverse strength of the penalty, above 0.

    Returns
    -------
    Linear
        The standardised logistic head of samples, its weights in raw feature space.

    Raises
    ------
    DataError
        If a class is missing.
    """
    heads = HeadBatch(uses=np.ones((1, 1), bool), C=np.array([C]), task=np.zeros(1, np.intp))
    fitted = fit_heads(Arrays([features]), labels[None], heads)
    return Linear(weight=fitted.weight[0], bias=float(fitted.bias[0]), widths=[features.shape[1]])
