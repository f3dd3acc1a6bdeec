"""Which samples train, which choose the epoch and which test; photographs are never divided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from featcache.datasets import Manifest, Sample
from featcache.errors import DataError
from featcache.evaluate.data import training_set, unit
from featcache.hashing import digest_bytes, digest_json


@dataclass(frozen=True)
class Parts:
    """The samples of one run.

    Parameters
    ----------
    train, val : tuple of Sample
        Both from the training split; no photograph is in both.
    test : tuple of Sample
    """

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def manifest(self) -> Manifest:
        """All samples, those held out marked as validation data: what both heads are judged on."""
        held_out = (replace(sample, split="val") for sample in self.val)
        return Manifest((*self.train, *held_out, *self.test))

    @property
    def digest(self) -> str:
        """Digest of the training and validation samples with their labels and photographs."""
        rows = [[(s.sample_id, s.label, unit(s)) for s in part] for part in (self.train, self.val)]
        return digest_json(rows)


def divide(manifest: Manifest, wanted: list[str], fraction: float, seed: int) -> Parts:
    """Return the parts of a manifest.

    Parameters
    ----------
    manifest : Manifest
        Without files that cannot be used.
    wanted : list of str
        Generators to train on; empty means all.
    fraction : float
        Share of the training photographs that is held out, at least one of each role.
    seed : int

    Raises
    ------
    DataError
        If a part would lack a class.
    """
    samples = list(manifest)
    rows = sorted(training_set(samples, wanted), key=lambda sample: sample.sample_id)
    held_out = _held_out(rows, fraction, seed)
    train = tuple(sample for sample in rows if unit(sample) not in held_out)
    val = tuple(sample for sample in rows if unit(sample) in held_out)
    for part, name in ((train, "train on"), (val, "choose the epoch by")):
        if len({sample.label for sample in part}) < 2:
            raise DataError(
                f"After holding out photographs there are not both reals and fakes to {name}: "
                f"the training split has {len(rows)} images of {len({*map(unit, rows)})} "
                "photographs. Add training images."
            )
    return Parts(train, val, tuple(sample for sample in samples if sample.split == "test"))


def _held_out(rows: Sequence[Sample], fraction: float, seed: int) -> set[str]:
    """Return the photographs to hold out: in each role, those whose digests come first."""
    roles: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for sample in rows:
        roles[unit(sample)].add((sample.serves, sample.label))
    strata: dict[tuple[tuple[str, int], ...], list[str]] = defaultdict(list)
    for name, played in roles.items():
        strata[tuple(sorted(played))].append(name)
    held_out: set[str] = set()
    for names in strata.values():
        names.sort(key=lambda name: digest_bytes(f"{seed}/{name}".encode("utf-8", "replace")))
        if len(names) > 1:
            held_out.update(names[: max(1, round(fraction * len(names)))])
    return held_out
