"""Named protocols: who trains, who stops or chooses, who is tested. A protocol is data about roles.

:meth:`Protocol.apply` gives every sample its role as its split, so that the evaluation needs to
know nothing about protocols.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np

from featcache.datasets.columns import Index, Texts, group_rows
from featcache.datasets.families import CONTROL, OTHER_FAMILY, group_of
from featcache.datasets.layouts import named_set
from featcache.datasets.manifest import Manifest, stack
from featcache.datasets.pairings import families_of, generator_names, members, restrict
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
        chosen = self._roles(manifest)
        splits = set(chosen.texts("split").values().values())
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
        return chosen

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
        tested = manifest.subset(manifest.is_text("split", "test"))
        there = {name.lower() for name in generator_names(tested)}
        return [name for name in self.test if name.lower() not in there]

    def _roles(self, manifest: Manifest) -> Manifest:
        """Return the samples of each role; one that validates and is tested stands twice."""
        rows = np.arange(len(manifest))
        train, val, test = (manifest.is_text("split", name) for name in ("train", "val", "test"))
        in_category = rows >= 0
        if self.categories:
            in_category = manifest.is_text("category", *self.categories)
        trained = {name.lower() for name in self.train}
        parts = [
            (train & in_category, trained, ""),
            (val & in_category & (not self.validation), trained, ""),
            (test, {self.validation} - {""}, "val"),
            (test, {name.lower() for name in self.test}, ""),
        ]
        chosen, places = [], []
        for mask, names, split in parts:
            part, kept = _paired_with(manifest.subset(mask), rows[mask], names)
            if split:
                part = part.replace(split=Texts.constant(split, len(part)))
            chosen.append(part)
            places.append(kept)
        order = np.argsort(np.concatenate(places), kind="stable")
        return stack(chosen).subset(order)


def _paired_with(
    manifest: Manifest, rows: Index, folded: Collection[str]
) -> tuple[Manifest, Index]:
    """Return the samples of generators by name in lower case, and which of ``rows`` they are."""
    names = {name for name in generator_names(manifest) if name.lower() in folded}
    paired = manifest.texts("paired_with")
    has_pair = paired.where(lambda text: not names.isdisjoint(members(text)))
    return restrict(manifest.subset(has_pair), names), rows[has_pair]


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
    there = _categories(manifest)
    ordered = [name for name in CLASS_ORDER if name in there]
    ordered += sorted(there - set(CLASS_ORDER))
    if not 1 <= n_classes <= len(ordered):
        raise SettingsError(
            f"{n_classes} classes were asked for, and the training images have {len(ordered)} "
            f"({', '.join(ordered) or 'no category folders'})."
        )
    in_category = manifest.is_text("category", *ordered[:n_classes])
    return manifest.subset(manifest.is_text("split", "test") | in_category)


def _categories(manifest: Manifest) -> set[str]:
    trained = manifest.subset(manifest.is_text("split", "train"))
    return set(trained.texts("category").values().values()) - {""}


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
    n_there = len(_categories(manifest))
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
    families = families_of(manifest)
    fake = manifest.numbers("label") == 1
    trained, tested = (
        generator_names(manifest.subset(fake & manifest.is_text("split", split)))
        for split in ("train", "test")
    )
    trained = {name for name in trained if families[name] != CONTROL}
    if len(trained) < 2:
        raise DataError(
            "Leaving one generator out needs training images of two generators or more; there are "
            f"{len(trained)} ({', '.join(sorted(trained)) or 'none'})."
        )
    return {name: _without(manifest, name) for name in sorted(trained & tested)}


def _without(manifest: Manifest, name: str) -> Manifest:
    test = manifest.is_text("split", "test")
    sources = group_rows(manifest.codes("dataset"), manifest.source_codes())[1]
    in_set = manifest.texts("paired_with").where(lambda text: name in members(text))
    held_out = np.isin(sources, sources[test & in_set])
    others = generator_names(manifest) - {name}
    rows = np.arange(len(manifest))
    mask = test & in_set
    tested, places = restrict(manifest.subset(mask), {name}), rows[mask]
    mask = ~test & ~held_out
    mask &= manifest.texts("paired_with").where(lambda text: not others.isdisjoint(members(text)))
    order = np.argsort(np.concatenate([places, rows[mask]]), kind="stable")
    return stack([tested, restrict(manifest.subset(mask), others)]).subset(order)


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
