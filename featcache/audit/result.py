"""What an audit finds, as plain data for terminal, JSON and report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featcache.errors import DataError
from featcache.files import printable, read_text, write_atomic

VERDICTS = ("solvable", "suspicious", "clean", "unknown")
"""From worst to best; ``unknown`` where there are too few images of a class."""


@dataclass(frozen=True, kw_only=True)
class GeneratorAudit:
    """What the files of one generator's set give away.

    Parameters
    ----------
    n_real, n_fake : int
        Images looked at.
    auroc : float in [0, 1] or None
        Of a decision tree on the facts of the files alone, cross-validated by photograph.
    auroc_ci : (float, float) or None
        95 % interval (Hanley and McNeil).
    feature : str
        The fact that gives it away best by itself, in words; empty for ``clean``.
    feature_auroc : float or None
        AUROC of that fact alone.
    features : dict of str to float
        AUROC of every fact alone.
    real, fake : str
        What the fact is for the most of them: ``"JPEG 100 %"``.
    verdict : {"solvable", "suspicious", "clean", "unknown"}
    sentence : str
        The conclusion as a sentence.
    """

    n_real: int
    n_fake: int
    auroc: float | None = None
    auroc_ci: tuple[float, float] | None = None
    feature: str = ""
    feature_auroc: float | None = None
    features: dict[str, float] = field(default_factory=dict)
    real: str = ""
    fake: str = ""
    verdict: str = "unknown"
    sentence: str = ""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two files that are the same or nearly so; ``distance`` in bits of 64, 0 for equal bytes."""

    train: str
    test: str
    distance: int = 0


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Files that occur more than once, and what crosses from training to test.

    Parameters
    ----------
    n_copies : int
        Files whose bytes another file has too, beyond the first of each.
    n_leaks, n_near_leaks : int
        Pairs of a training and a test image that are equal, and nearly equal.
    n_shared_sources : int
        Photographs of which both training and test have an image.
    leaks, near_leaks : list of Pair
        The first of them.
    n_hashed : int
        Images that were compared for near duplicates.
    """

    n_copies: int = 0
    n_leaks: int = 0
    n_near_leaks: int = 0
    n_shared_sources: int = 0
    leaks: list[Pair] = field(default_factory=list)
    near_leaks: list[Pair] = field(default_factory=list)
    n_hashed: int = 0


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Reals and fakes of one generator and split."""

    generator: str
    split: str
    n_real: int
    n_fake: int
    skewed: bool


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """Everything that an audit found.

    Parameters
    ----------
    view : str
        The view under which the files were looked at.
    generators : dict of str to GeneratorAudit
    duplicates : Duplicates
    balance : list of Balance
    corrupt : list of dict
        ``path`` and ``reason`` of files that cannot be used; of all that were looked at.
    remedy : str
        The view that removes the shortcuts, empty where there are none.
    sentences : list of str
        The findings in words, the worst first.
    n_images : int
        Images that were looked at.
    """

    view: str
    generators: dict[str, GeneratorAudit]
    duplicates: Duplicates
    balance: list[Balance]
    corrupt: list[dict[str, str]]
    remedy: str
    sentences: list[str]
    n_images: int

    @property
    def trusted(self) -> bool:
        """Whether nothing was found that makes results doubtful."""
        leaks = self.duplicates.n_leaks or self.duplicates.n_near_leaks
        return not leaks and all(
            audit.verdict in ("clean", "unknown") for audit in self.generators.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it.

        Returns
        -------
        dict[str, Any]
            The result as JSON can hold it.
        """
        return {**asdict(self), "trusted": self.trusted}

    def write(self, path: Path) -> None:
        """Write the result as JSON, whole or not at all.

        Parameters
        ----------
        path : Path
            File or folder.
        """
        text = json.dumps(self.to_dict(), indent=2)
        write_atomic(path, printable(text).encode("utf-8"))


def read_audit(path: Path) -> AuditResult:
    """Read what :meth:`AuditResult.write` wrote.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    AuditResult

    Raises
    ------
    DataError
        If the file is no such result.
    """
    try:
        values = json.loads(read_text(path))
        values.pop("trusted")
        duplicates = values.pop("duplicates")
        for name in ("leaks", "near_leaks"):
            duplicates[name] = [Pair(**pair) for pair in duplicates[name]]
        generators = {name: _generator(value) for name, value in values.pop("generators").items()}
        balance = [Balance(**row) for row in values.pop("balance")]
        return AuditResult(
            generators=generators, duplicates=Duplicates(**duplicates), balance=balance, **values
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no audit: {error}. Run 'featcache datasets audit' again."
        ) from error


def _generator(values: dict[str, Any]) -> GeneratorAudit:
    interval = values.pop("auroc_ci")
    return GeneratorAudit(**values, auroc_ci=tuple(interval) if interval else None)
