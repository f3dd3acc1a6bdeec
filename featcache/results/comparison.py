"""How two runs differ on the same test samples, as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from featcache.results.numbers import Interval, Number


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A paired comparison: the difference ``metric(row) - metric(other)`` over the same resamples.

    ``p`` is two-sided; ``p_holm`` is corrected for all comparisons of the table with the same
    partner. For AUROC on one generator of independent samples ``p`` is DeLong's, else the
    bootstrap's: ``test`` says which. ``ci`` always is the bootstrap's.
    """

    other: list[str]
    metric: str
    difference: Number
    ci: Interval
    p: Number
    p_holm: Number
    test: Literal["bootstrap", "delong"] = "bootstrap"


@dataclass(frozen=True, kw_only=True)
class RunComparison:
    """Two runs compared on one metric: first minus second, each generator, each group, all.

    Parameters
    ----------
    metric : str
    other : list of str
        What the second run is called.
    generators : dict of str to Comparison
        Without controls; ``p_holm`` is corrected over them.
    groups, groups_unseen : dict of str to Comparison
        Means over the generators of a family, and over those of them that were not trained on where
        the family has both; corrected over the families.
    overall : Comparison
        Mean over all generators.
    unseen : Comparison or None
        Mean over those that were not trained on; None where there are none.
    controls : dict of str to Comparison
        Controls, corrected among themselves.
    n_resamples, n_samples : int
        Resamples behind the intervals; rows of scores that both runs have.
    notes : list of str
        What a careful reader must know, one sentence each.
    """

    metric: str
    other: list[str]
    generators: dict[str, Comparison]
    groups: dict[str, Comparison]
    groups_unseen: dict[str, Comparison]
    overall: Comparison
    unseen: Comparison | None
    controls: dict[str, Comparison] = field(default_factory=dict)
    n_resamples: int = 0
    n_samples: int = 0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain dicts, lists and numbers, ready for JSON.

        Returns
        -------
        dict[str, Any]
            The comparison as plain dicts, lists and numbers, ready for JSON.
        """
        return asdict(self)
