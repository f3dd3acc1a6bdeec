"""What a study found, as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from featcache.results import EvalResult, Interval
from featcache.results.base import UNKNOWN_CI, Number
from featcache.studies.plan import Run
from featcache.studies.published import Published, PublishedComparison


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One run and what came of it; ``folder`` is where its scores and head lie."""

    run: Run
    result: EvalResult
    folder: str = ""

    @property
    def name(self) -> str:
        """The run in a few words."""
        return self.run.name


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A run minus the baseline over the same resamples, as a fraction.

    Parameters
    ----------
    run, baseline : str
        Names of the two runs.
    over : str
        The generators that the mean is over: ``"all"``, ``"unseen"``, ``"GAN"``, ``"GAN, unseen"``,
        …
    metric : {"mAP", "mean_acc"}
    value : float
    ci : (float, float)
    p, p_holm : float
        Two-sided; ``p_holm`` corrected for all differences of the study, which stand in one table.
    """

    run: str
    baseline: str
    over: str
    metric: str
    value: Number
    ci: Interval = UNKNOWN_CI
    p: Number = math.nan
    p_holm: Number = math.nan


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A published row, the run that it is set beside, and the numbers that both have."""

    published: Published
    run: str
    comparisons: tuple[PublishedComparison, ...]


@dataclass(frozen=True, kw_only=True)
class MixtureAP:
    """Mean AP of a run if ``share`` of the images were fakes; chance is ``share`` itself."""

    run: str
    share: float
    ap: Number
    ci: Interval = UNKNOWN_CI


@dataclass(frozen=True, kw_only=True)
class BoundaryPoint:
    """AP of a run on one artefact at one strength; ``seen`` says that its interval lies above
    chance.
    """

    run: str
    artefact: str
    strength: float
    ap: Number
    ci: Interval
    chance: float

    @property
    def seen(self) -> bool:
        """Whether the interval lies above chance."""
        return self.ci[0] > self.chance


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """All that a study found.

    Parameters
    ----------
    name, title, asks : str
    answer : str
        The first sentence of the report.
    runs : list of RunResult
        In the order of the study.
    differences : list of Difference
        Every other run of the baseline's training set minus the baseline.
    references : list of Reference
    mixtures : list of MixtureAP
    boundary : list of BoundaryPoint
    notes : list of str
    """

    name: str
    title: str
    asks: str
    runs: list[RunResult]
    answer: str = ""
    differences: list[Difference] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    mixtures: list[MixtureAP] = field(default_factory=list)
    boundary: list[BoundaryPoint] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def difference(self, run: str, over: str = "all", metric: str = "mAP") -> Difference | None:
        """Return the difference of that run, over those generators, in that metric.

        Parameters
        ----------
        run : str
            Digest of the question that the run answers.
        over : str
            Generators that the difference is a mean over.
        metric : str
            Name of a metric, such as ``ap``.

        Returns
        -------
        Difference | None
            The difference of that run, over those generators, in that metric.
        """
        key = (run, over, metric)
        matches = (d for d in self.differences if (d.run, d.over, d.metric) == key)
        return next(matches, None)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The result as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)
