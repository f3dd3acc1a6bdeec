"""From a study to its runs, as plain data; pure.

The lock file of a study: what exactly it ran on, so that a later run can say what has changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from featcache.datasets import Manifest
from featcache.errors import DataError, SettingsError
from featcache.files import digest_json, read_text, write_atomic
from featcache.studies.schema import Names, StudyPlan

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
    names_train : bool
        Whether the name says the training set: where a study has several.
    """

    features: Names
    train: Names = ()
    head: str = "logistic"
    n_classes: int | None = None
    names_train: bool = False

    @property
    def tuned(self) -> bool:
        """Whether the backbone was trained too."""
        return self.head.startswith(TUNED)

    @property
    def name(self) -> str:
        """The run in a few words: what differs from a plain logistic head on all training data."""
        parts = [" + ".join(self.features)]
        parts += [f"on {' + '.join(self.train) or 'all'}"] if self.names_train else []
        parts += [self.head] if self.head != "logistic" else []
        parts += [f"{self.n_classes} classes"] if self.n_classes else []
        return ", ".join(parts)


def plan_runs(study: StudyPlan) -> tuple[Run, ...]:
    """Return every run of a study: feature sets x training sets x heads, then the numbers of
    classes.

    The ablation of the number of training classes uses the first feature set and training set, with
    every head.

    Parameters
    ----------
    study : StudyPlan
        Plan of the study.

    Returns
    -------
    tuple[Run, ...]
        Every run of a study.
    """
    probe, several = study.probe, len(study.probe.train) > 1
    runs = [
        Run(features=features, train=train, head=head, names_train=several)
        for features, train, head in product(study.feature_sets, probe.train, probe.heads)
    ]
    runs += [
        Run(
            features=study.feature_sets[0],
            train=probe.train[0],
            head=head,
            n_classes=n,
            names_train=several,
        )
        for head, n in product(probe.heads, probe.classes)
    ]
    return tuple(runs)


def with_backbones(study: StudyPlan, names: Sequence[str]) -> StudyPlan:
    """Return the same study on other backbones: the first stands for the study's first, and so on.

    Parameters
    ----------
    study : Study
    names : sequence of str
        Without taps; the study's taps are kept. Fewer names than the study has leave out what has
        none.

    Returns
    -------
    StudyPlan
        The same study on other backbones.

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
            f"The study {study.name} has {len(old)} backbones ({', '.join(old)}), not {len(names)}."
            " Give at most as many with --backbone: the first stands for its first."
        )
    return _with_names(study, dict(zip(old, names, strict=False)))


def with_train(study: StudyPlan, generators: Sequence[str]) -> StudyPlan:
    """Return the same study with one training set, of these generators.

    Parameters
    ----------
    study : StudyPlan
        Plan of the study.
    generators : Sequence[str]
        Names of generators; empty for all.

    Returns
    -------
    StudyPlan
        The same study with one training set, of these generators.
    """
    probe = study.probe.model_copy(update={"train": (tuple(generators),)})
    return study.model_copy(update={"probe": probe})


def with_random(study: StudyPlan, names: Sequence[str], seed: int) -> StudyPlan:
    """Return the same study in which the features of random weights are named as such.

    Parameters
    ----------
    study : StudyPlan
        Plan of the study.
    names : Sequence[str]
        Names, in order.
    seed : int
        Seed of the random numbers.

    Returns
    -------
    StudyPlan
        The same study in which the features of random weights are named as such.

    Examples
    --------
    >>> from featcache.studies.schema import load_study
    >>> with_random(load_study("layers"), ["clip@layer3"], 0).feature_sets[:2]
    (('clip',), ('clip@layer3#random0',))
    """
    bases = [name.partition("@")[0] for name in study.extract.backbones]
    replacements = {base: base for base in bases} | {name: f"{name}#random{seed}" for name in names}
    return _with_names(study, replacements)


def _with_names(study: StudyPlan, new: dict[str, str]) -> StudyPlan:
    extract = study.extract.model_copy(update={"backbones": _renamed(study.extract.backbones, new)})
    sets = tuple(one for features in study.probe.features if (one := _complete(features, new)))
    probe = study.probe.model_copy(update={"features": sets})
    tuned = study.finetune.model_copy(update={"backbones": _renamed(study.finetune.backbones, new)})
    changed = {"extract": extract, "probe": probe, "finetune": tuned}
    return study.model_copy(update={**changed, "baseline": _complete(study.baseline, new)})


def _renamed(names: Iterable[str], new: dict[str, str]) -> Names:
    """Return the names that have a new one, or whose backbone has one: then each keeps its tap."""
    parts = [(name, *name.partition("@")) for name in names]
    return tuple(
        new.get(name) or new[base] + place + tap
        for name, base, place, tap in parts
        if name in new or base in new
    )


def _complete(names: Names, new: dict[str, str]) -> Names:
    """Return a feature set under its new names, or nothing if a part of it has none."""
    renamed = _renamed(names, new)
    return renamed if len(renamed) == len(names) else ()


FILE_NAME = "study.lock.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What determines the numbers of a study.

    Parameters
    ----------
    study : str
        Digest of the study's file.
    samples : str
        Digest of ids, labels, generators, splits and sources of all samples.
    n_samples : int
    keys : dict of str to dict
        The complete feature key of each feature and view.
    results : dict of str to str
        Digest of the result of each run.
    versions : dict of str to str
        Recorded, not compared.
    """

    study: str
    samples: str
    n_samples: int
    keys: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, str]
    versions: Mapping[str, str]


def digest_samples(manifest: Manifest) -> str:
    """Return the digest of all that a manifest says about what is compared, whatever its order.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.

    Returns
    -------
    str
        The digest of all that a manifest says about what is compared, whatever its order.
    """
    names = ("sample_id", "label", "generator", "paired_with", "split", "category", "source")
    return digest_json(sorted([getattr(sample, name) for name in names] for sample in manifest))


def changes(old: Lock, new: Lock) -> list[str]:
    """Return in words what differs between two runs of a study; versions are not compared.

    Parameters
    ----------
    old : Lock
        Earlier lock.
    new : Lock
        Present lock.

    Returns
    -------
    list[str]
        In words what differs between two runs of a study.
    """
    result = []
    if old.study != new.study:
        result.append("the study's file has changed")
    if old.samples != new.samples:
        result.append(f"the samples have changed ({old.n_samples:,} then, {new.n_samples:,} now)")
    changed = [name for name in new.keys if name in old.keys and old.keys[name] != new.keys[name]]
    if changed:
        result.append(f"other features under the same name: {', '.join(sorted(changed))}")
    return result


def read_lock(path: Path) -> Lock | None:
    """Return the lock of an earlier run, None where there was none.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    Lock | None
        The lock of an earlier run, None where there was none.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        values = json.loads(read_text(path))
        if values.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        return Lock(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is no lock of a study: {error}. Delete it to run anew.") from error


def write_lock(path: Path, lock: Lock) -> None:
    """Write the lock, whole or not at all.

    Parameters
    ----------
    path : Path
        File or folder.
    lock : Lock
        Keys and digests of the study.
    """
    text = json.dumps({"format": FORMAT, **asdict(lock)}, indent=1, sort_keys=True)
    write_atomic(path, text.encode("ascii"))
