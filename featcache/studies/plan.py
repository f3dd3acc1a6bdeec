"""From a study to its runs, as plain data; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from featcache.errors import SettingsError
from featcache.studies.schema import Names, Study

TUNED = "fine-tuned"
"""How the heads of backbones that were trained further are called."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One head on one feature set with one training set.

    Parameters
    ----------
    features, train : tuple of str
        ``train`` is empty for all generators.
    head : str
    n_classes : int or None
        How many training categories are used; None means all.
    says_train : bool
        Whether the name says the training set: where a study has several.
    """

    features: Names
    train: Names = ()
    head: str = "logistic"
    n_classes: int | None = None
    says_train: bool = False

    @property
    def tuned(self) -> bool:
        """Whether the backbone was trained too."""
        return self.head.startswith(TUNED)

    @property
    def name(self) -> str:
        """The run in a few words: what differs from a plain logistic head on all training data."""
        parts = [" + ".join(self.features)]
        parts += [f"on {' + '.join(self.train) or 'all'}"] if self.says_train else []
        parts += [self.head] if self.head != "logistic" else []
        parts += [f"{self.n_classes} classes"] if self.n_classes else []
        return ", ".join(parts)


def plan_runs(study: Study) -> tuple[Run, ...]:
    """Return every run of a study: feature sets x training sets x heads, then the numbers of classes.

    The ablation of the number of training classes uses the first feature set and training set, with
    every head.
    """
    probe, several = study.probe, len(study.probe.train) > 1
    runs = [
        Run(features=features, train=train, head=head, says_train=several)
        for features, train, head in product(study.feature_sets, probe.train, probe.heads)
    ]
    runs += [
        Run(
            features=study.feature_sets[0],
            train=probe.train[0],
            head=head,
            n_classes=n,
            says_train=several,
        )
        for head, n in product(probe.heads, probe.classes)
    ]
    return tuple(runs)


def with_backbones(study: Study, names: Sequence[str]) -> Study:
    """Return the same study on other backbones: the first stands for the study's first, and so on.

    Parameters
    ----------
    study : Study
    names : sequence of str
        Without taps; the study's taps are kept. Fewer names than the study has leave out what has none.

    Raises
    ------
    SettingsError
        If there are more names than the study has backbones.

    Examples
    --------
    >>> from featcache.studies.schema import load_study
    >>> with_backbones(load_study("mixture"), ["resnet50", "dinov2"]).feature_sets[-1]
    ('resnet50', 'dinov2')
    """
    old = list(dict.fromkeys(name.partition("@")[0] for name in study.extract.backbones))
    if len(names) > len(old):
        raise SettingsError(
            f"The study {study.name} has {len(old)} backbones ({', '.join(old)}), not {len(names)}. "
            "Give at most as many with --backbone: the first stands for its first."
        )
    return _with_names(study, dict(zip(old, names, strict=False)))


def with_train(study: Study, generators: Sequence[str]) -> Study:
    """Return the same study with one training set, of these generators."""
    probe = study.probe.model_copy(update={"train": (tuple(generators),)})
    return study.model_copy(update={"probe": probe})


def with_random(study: Study, names: Sequence[str], seed: int) -> Study:
    """Return the same study in which the features of random weights are named as such.

    Examples
    --------
    >>> from featcache.studies.schema import load_study
    >>> with_random(load_study("layers"), ["clip@layer3"], 0).feature_sets[:2]
    (('clip',), ('clip@layer3#random0',))
    """
    bases = [name.partition("@")[0] for name in study.extract.backbones]
    whole = {base: base for base in bases} | {name: f"{name}#random{seed}" for name in names}
    return _with_names(study, whole)


def _with_names(study: Study, new: dict[str, str]) -> Study:
    extract = study.extract.model_copy(update={"backbones": _renamed(study.extract.backbones, new)})
    sets = tuple(one for features in study.probe.features if (one := _whole(features, new)))
    probe = study.probe.model_copy(update={"features": sets})
    tuned = study.finetune.model_copy(update={"backbones": _renamed(study.finetune.backbones, new)})
    changed = {"extract": extract, "probe": probe, "finetune": tuned}
    return study.model_copy(update={**changed, "baseline": _whole(study.baseline, new)})


def _renamed(names: Iterable[str], new: dict[str, str]) -> Names:
    """Return the names that have a new one, or whose backbone has one: then each keeps its tap."""
    parts = [(name, *name.partition("@")) for name in names]
    return tuple(
        new.get(name) or new[base] + at + tap
        for name, base, at, tap in parts
        if name in new or base in new
    )


def _whole(names: Names, new: dict[str, str]) -> Names:
    """Return a feature set under its new names, or nothing if a part of it has none."""
    renamed = _renamed(names, new)
    return renamed if len(renamed) == len(names) else ()
