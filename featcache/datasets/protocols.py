"""Named protocols: who trains, who stops or chooses, who is tested. A protocol is data about roles.

:meth:`Protocol.apply` gives every sample its role as its split, so that the evaluation needs to
know nothing about protocols.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from featcache.datasets.families import CONTROL, OTHER_FAMILY, group_of
from featcache.datasets.layouts import named_set
from featcache.datasets.manifest import Manifest, Sample
from featcache.errors import DataError, SettingsError, unknown_name

PROGAN_4 = ("car", "cat", "chair", "horse")
"""The four categories on which LGrad, NPR, FreqNet, FatFormer and RINE train."""

CLASS_ORDER = (
    *("horse", "chair", "car", "cat"),
    *(name for name in sorted(named_set("progan20")) if name not in PROGAN_4),
)
"""Categories in the order in which the number of classes grows: the field's sets of 1, 2 and 4
are its beginnings; beyond these no list is published, and the order is the alphabet's.
"""

CLASS_COUNTS = (1, 2, 4, 8, 16, 20)

UNIVFD_TESTS = (
    *("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "sitd", "san"),
    *("crn", "imle", "guided", "ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27"),
    *("glide_50_27", "glide_100_10", "dalle"),
)
"""UnivFD's 19 test sets in its order."""

DFWF_GAN = ("progan", "cyclegan", "biggan", "gaugan", "stargan", "ffhq")
DFWF_DM = ("guided", "ldm_200", "ldm_200_cfg", "glide_100_27", "glide_100_10", "elsa")
"""The groups of *Detect Fake with Fake*, as in the code of its first author."""

GENIMAGE = (
    *("Midjourney", "stable_diffusion_v_1_4", "stable_diffusion_v_1_5", "ADM", "glide", "wukong"),
    *("VQDM", "BigGAN"),
)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Who trains and who is tested.

    Parameters
    ----------
    name, summary : str
    train : tuple of str
        Generators of the training set.
    categories : tuple of str
        Categories of the training and validation set; empty means all.
    validation : str
        Generator whose *test* images are the early-stop set, as UnivFD's code has it; empty where
        the tree's own validation split is used.
    test : tuple of str
        Generators that are tested, in the order of the paper's table.
    preset : str
        Preprocessing that it was published with.
    threshold : float
        Of accuracy, on the probability of fake.
    train_view : str
        View of the training images that comes nearest to its augmentation.
    """

    name: str
    summary: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    categories: tuple[str, ...] = ()
    validation: str = ""
    preset: str = "univfd"
    threshold: float = 0.5
    train_view: str = "clean"

    def apply(self, manifest: Manifest) -> Manifest:
        """Return the samples that play a role, with the role as their split.

        Parameters
        ----------
        manifest : Manifest
            Samples with labels, generators, splits and sources.

        Returns
        -------
        Manifest
            The samples that play a role, with the role as their split.

        Raises
        ------
        DataError
            If the training set is missing, or every test set.
        """
        rows = [row for sample in manifest for row in self._roles(sample)]
        splits = {row.split for row in rows}
        for split, names in (("train", self.train), ("test", self.test)):
            if split not in splits:
                what = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                of_categories = f" of {', '.join(self.categories)}" if self.categories else ""
                raise DataError(
                    f"The protocol {self.name!r} needs {split} images of"
                    f" {what}{of_categories if split == 'train' else ''}, and the store knows none."
                    " Run 'featcache datasets scan' on them; 'featcache datasets ls' shows what is"
                    " there."
                )
        return Manifest(tuple(rows))

    def missing(self, manifest: Manifest) -> list[str]:
        """Return the test sets that the manifest lacks, in the protocol's order.

        Parameters
        ----------
        manifest : Manifest
            Samples with labels, generators, splits and sources.

        Returns
        -------
        list[str]
            The test sets that the manifest lacks, in the protocol's order.
        """
        there = {sample.paired_with.lower() for sample in manifest if sample.split == "test"}
        return [name for name in self.test if name.lower() not in there]

    def _roles(self, sample: Sample) -> Iterable[Sample]:
        name = sample.paired_with.lower()
        in_category = not self.categories or sample.category in self.categories
        if sample.split == "train" and name in map(str.lower, self.train) and in_category:
            yield sample
        if sample.split == "val" and not self.validation and name in map(str.lower, self.train):
            yield from (sample,) if in_category else ()
        if sample.split == "test" and name == self.validation:
            yield replace(sample, split="val")
        if sample.split == "test" and name in map(str.lower, self.test):
            yield sample


_UNIVFD = Protocol(
    name="univfd",
    summary="UnivFD: train on ProGAN's 20 classes, 19 test sets, centre crop 224, threshold 0.5",
    train=("progan",),
    test=UNIVFD_TESTS,
    train_view="univfd-train",
)

AS_RELEASED = "univfd-as-released"
"""UnivFD's released code stops early on the ProGAN test set; this protocol repeats that."""

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _UNIVFD,
        replace(
            _UNIVFD,
            name="dfwf",
            summary="Detect Fake with Fake: UnivFD's training, its GAN and diffusion groups",
            test=(*DFWF_GAN, *DFWF_DM),
        ),
        replace(
            _UNIVFD,
            name=AS_RELEASED,
            summary=(
                "UnivFD as its released code does it: validation on ProGAN's TEST images, so that "
                "threshold and C look at them"
            ),
            validation="progan",
        ),
        replace(
            _UNIVFD,
            name="4class",
            summary="ProGAN's car, cat, chair and horse (NPR, FatFormer, RINE), UnivFD's test sets",
            categories=PROGAN_4,
        ),
        Protocol(
            name="genimage",
            summary="GenImage: train on Stable Diffusion 1.4, test on all eight generators",
            train=("stable_diffusion_v_1_4",),
            test=GENIMAGE,
        ),
    )
}
"""Protocols by name."""


def get_protocol(name: str) -> Protocol:
    """Return the protocol of a name.

    Parameters
    ----------
    name : str
        Name to look up or to show.

    Returns
    -------
    Protocol
        The protocol of a name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def class_subset(manifest: Manifest, n_classes: int) -> Manifest:
    """Return the manifest with the training and validation images of so many categories only.

    Parameters
    ----------
    manifest : Manifest
    n_classes : int
        The first of :data:`CLASS_ORDER` that the training images have, so that each set holds the
        smaller ones. Test images stay as they are.

    Returns
    -------
    Manifest
        The manifest with the training and validation images of so many categories only.

    Raises
    ------
    SettingsError
        If the training images have fewer categories.
    """
    there = {s.category for s in manifest if s.split == "train" and s.category}
    ordered = [name for name in CLASS_ORDER if name in there]
    ordered += sorted(there - set(CLASS_ORDER))
    if not 1 <= n_classes <= len(ordered):
        raise SettingsError(
            f"{n_classes} classes were asked for, and the training images have {len(ordered)} "
            f"({', '.join(ordered) or 'no category folders'})."
        )
    chosen = set(ordered[:n_classes])
    return manifest.where(lambda s: s.split == "test" or s.category in chosen)


def class_subsets(manifest: Manifest, counts: Iterable[int] = CLASS_COUNTS) -> dict[int, Manifest]:
    """Return the data of the number-of-classes ablation, for each count that the categories allow.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.
    counts : Iterable[int]
        Numbers of classes.

    Returns
    -------
    dict[int, Manifest]
        The data of the number-of-classes ablation, for each count that the categories allow.
    """
    n_there = len({s.category for s in manifest if s.split == "train" and s.category})
    return {count: class_subset(manifest, count) for count in counts if count <= n_there}


def leave_one_out(manifest: Manifest) -> dict[str, Manifest]:
    """Return for each generator the data that train on all the others and test on it.

    Photographs that the generator left out shares with the others' training set are taken out of
    training, so that the test stays independent.

    Parameters
    ----------
    manifest : Manifest
        Samples with labels, generators, splits and sources.

    Returns
    -------
    dict[str, Manifest]
        For each generator the data that train on all the others and test on it.

    Raises
    ------
    DataError
        If fewer than two generators have training images.
    """
    trained = {
        s.paired_with for s in manifest if s.split == "train" and s.family != CONTROL and s.label
    }
    tested = {s.paired_with for s in manifest if s.split == "test" and s.label}
    if len(trained) < 2:
        raise DataError(
            "Leaving one generator out needs training images of two generators or more; there are "
            f"{len(trained)} ({', '.join(sorted(trained)) or 'none'})."
        )
    return {name: _without(manifest, name) for name in sorted(trained & tested)}


def _without(manifest: Manifest, name: str) -> Manifest:
    held_out = {
        (s.dataset, s.source) for s in manifest if s.paired_with == name and s.split == "test"
    }

    def keep(sample: Sample) -> bool:
        if sample.split == "test":
            return sample.paired_with == name
        return sample.paired_with != name and (sample.dataset, sample.source) not in held_out

    return manifest.where(keep)


def describe_protocols() -> list[dict[str, object]]:
    """Return every protocol as plain data.

    Returns
    -------
    list[dict[str, object]]
        Every protocol as plain data.
    """
    return [
        {
            "name": p.name,
            "summary": p.summary,
            "train": list(p.train),
            "categories": list(p.categories),
            "validation": p.validation,
            "test": list(p.test),
            "groups": {name: group_of(name) for name in p.test if group_of(name) != OTHER_FAMILY},
            "preset": p.preset,
            "threshold": p.threshold,
            "train_view": p.train_view,
        }
        for p in PROTOCOLS.values()
    ]
