"""The relation of reals and generators against a reference that multiplies it out row by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.datasets import Manifest, Sample, count_rows, expand, merge, resolve_pairs, select
from featcache.datasets.families import group_of
from featcache.datasets.filters import sample_ids
from featcache.datasets.pairings import GeneratorRows, members, restrict
from featcache.datasets.protocols import Protocol, class_subset, leave_one_out
from featcache.errors import FeatcacheError
from featcache.files import digest_bytes

FEW_EXAMPLES = settings(deadline=None, max_examples=100)
NAMES = ("progan", "adm", "mine", "control-x")


def make_sample(i: int, label: int, paired: str, split: str, dataset: str, category: str) -> Sample:
    sample_id = digest_bytes(str(i).encode())
    return Sample(
        dataset, "/r", f"/r/{i}-{paired}-{split}.png", label, paired if label else "real", paired,
        "" if paired == "*" or "|" in paired else group_of(paired), split, category,
        source=f"photo{i % 3}" if i % 2 else sample_id, sample_id=sample_id,
        format="PNG" if i % 3 else "JPEG", width=i % 4, height=7, layout="l",
        problem="gone" if i == 5 else "",
    )  # fmt: skip


REALS = st.sampled_from(("*", "progan|adm", "adm|mine|gone", *NAMES))
PLACES = {
    "split": st.sampled_from(("train", "val", "test")),
    "dataset": st.sampled_from(("x", "y")),
    "category": st.sampled_from(("", "car", "cat")),
}
SAMPLES = st.one_of(
    st.builds(make_sample, i=st.integers(0, 12), label=st.just(0), paired=REALS, **PLACES),
    st.builds(
        make_sample,
        i=st.integers(13, 30),
        label=st.just(1),
        paired=st.sampled_from(NAMES),
        **PLACES,
    ),
)
TABLES = st.lists(SAMPLES, max_size=25).map(lambda rows: Manifest(rows))


def reference_expand(manifest: Manifest) -> list[Sample]:
    """Return a row for each pair, as the first version of featcache had it."""
    makers: dict[Any, dict[str, set[str]]] = defaultdict(dict)
    for s in manifest:
        if s.label:
            for scope in (("dataset", s.dataset), ("layout", s.layout), ("", "")):
                makers[(*scope, s.split)].setdefault(s.paired_with, set()).add(s.category)
    rows = []
    for s in manifest:
        names = [s.paired_with]
        if s.paired_with == "*":
            makers_of = makers.get(("dataset", s.dataset, s.split)) or makers.get(
                ("layout", s.layout, s.split), {}
            )
            names = sorted([n for n, c in makers_of.items() if s.category in c] or makers_of)
        elif "|" in s.paired_with:
            there, listed = makers.get(("", "", s.split), {}), s.paired_with.split("|")
            names = [n for n in listed if n in there] or listed
        rows += [replace(s, paired_with=n, family=group_of(n)) for n in names]
    return rows


@FEW_EXAMPLES
@given(table=TABLES)
def test_the_relation_holds_the_pairs(table: Manifest) -> None:
    rows = reference_expand(table)
    resolved = resolve_pairs(table)
    assert list(expand(table)) == list(expand(resolved)) == rows
    assert len(resolved) <= len(table)
    sets = GeneratorRows(resolved)
    for name in sets:
        in_set = [replace(s, paired_with=name, family=group_of(name))
                  for s in resolved.subset(sets[name])]  # fmt: skip
        assert in_set == [row for row in rows if row.paired_with == name]


@FEW_EXAMPLES
@given(table=TABLES)
def test_counts(table: Manifest) -> None:
    cells = defaultdict(list)
    for s in reference_expand(table):
        cells[s.dataset, s.paired_with, s.family, s.split].append(s)
    expected = []
    for cell, samples in sorted(cells.items()):
        good = [s for s in samples if not s.problem]
        expected.append({
            **dict(zip(("dataset", "generator", "group", "split"), cell, strict=True)),
            "n_real": sum(s.label == 0 for s in good), "n_fake": sum(s.label == 1 for s in good),
            "n_bad": len(samples) - len(good), "n_sources": len({s.source for s in good}),
            "n_categories": len({s.category for s in good} - {""}),
            "formats": Counter(s.format for s in good),
            "sizes": Counter(f"{s.width}x{s.height}" for s in good),
        })  # fmt: skip
    rows = count_rows(table)
    assert rows == expected
    for row, reference in zip(rows, expected, strict=True):
        assert list(row["formats"]) == [name for name, _ in reference["formats"].most_common()]
        assert list(row["sizes"]) == [name for name, _ in reference["sizes"].most_common(5)]


@FEW_EXAMPLES
@given(table=TABLES, most=st.integers(1, 4), names=st.sets(st.sampled_from(NAMES), max_size=2))
def test_filters_take_what_they_took_of_pairs(table: Manifest, most: int, names: set[str]) -> None:
    rows = reference_expand(table)
    if not names <= {row.paired_with for row in rows}:
        with pytest.raises(FeatcacheError):
            select(resolve_pairs(table), generators=names)
        return
    rows = [row for row in rows if not names or row.paired_with in names]
    cells: dict[Any, set[str]] = defaultdict(set)
    for row in rows:
        cells[row.paired_with, row.split, row.label].add(row.sample_id)
    kept = {cell: sample_ids(ids)[:most] for cell, ids in cells.items()}
    expected = [r for r in rows if r.sample_id in kept[r.paired_with, r.split, r.label]]
    chosen = select(resolve_pairs(table), generators=names, max_per_class=most)
    assert list(expand(chosen)) == expected
    families = {row.family for row in rows}
    if families:
        family = min(families)
        one = select(resolve_pairs(table), groups=[family.upper()])
        assert list(expand(one)) == [r for r in reference_expand(table) if r.family == family]


PROTOCOL = Protocol(
    name="p", summary="", train=("ProGAN",), test=("adm", "mine"), categories=("car", ""),
    validation="adm",
)  # fmt: skip


@FEW_EXAMPLES
@given(table=TABLES, validation=st.booleans())
def test_protocols_give_the_roles_of_pairs(table: Manifest, validation: bool) -> None:
    protocol = PROTOCOL if validation else replace(PROTOCOL, validation="")
    expected = []
    for s in reference_expand(table):
        trained = s.paired_with == "progan" and s.category in protocol.categories
        if trained and (s.split == "train" or (s.split == "val" and not validation)):
            expected.append(s)
        if s.split == "test" and s.paired_with in protocol.test:
            expected += [replace(s, split="val")] * (s.paired_with == protocol.validation)
            expected.append(s)
    if not {"train", "test"} <= {s.split for s in expected}:
        with pytest.raises(FeatcacheError, match="needs"):
            protocol.apply(resolve_pairs(table))
        return
    chosen = list(expand(protocol.apply(resolve_pairs(table))))
    for split in ("train", "val", "test"):
        assert [s for s in chosen if s.split == split] == [s for s in expected if s.split == split]


@FEW_EXAMPLES
@given(table=TABLES)
def test_training_sets_of_classes_and_without_a_generator(table: Manifest) -> None:
    resolved, rows = resolve_pairs(table), reference_expand(table)
    trained = {r.category for r in rows if r.split == "train" and r.category}
    if trained:
        first = next(name for name in ("car", "cat") if name in trained)
        chosen = list(expand(class_subset(resolved, 1)))
        assert chosen == [r for r in rows if r.split == "test" or r.category == first]
    try:
        parts = leave_one_out(resolved)
    except FeatcacheError:
        return
    for name, part in parts.items():
        held_out = {
            (r.dataset, r.source) for r in rows if r.split == "test" and r.paired_with == name
        }
        assert list(expand(part)) == [
            r for r in rows
            if (r.paired_with == name if r.split == "test"
                else r.paired_with != name and (r.dataset, r.source) not in held_out)
        ]  # fmt: skip


@FEW_EXAMPLES
@given(tables=st.lists(TABLES, max_size=3))
def test_merging_keeps_the_first_of_each_role(tables: list[Manifest]) -> None:
    seen: set[Any] = set()
    expected = []
    for table in tables:
        roles = [(s.sample_id, s.generator, s.paired_with, s.split) for s in table]
        expected += [s for s, role in zip(table, roles, strict=True) if role not in seen]
        seen.update(roles)
    assert list(merge(tables)) == expected


def test_thousands_of_generators_share_reals_without_a_product() -> None:
    """4,803 x 2,000 pairs take the rows of 2,000 reals and of the fakes."""
    fakes = [make_sample(i, 1, f"g{i:04}", "test", "x", "") for i in range(100, 4903)]
    reals = [make_sample(10_000 + i, 0, "*", "test", "x", "") for i in range(2000)]
    resolved = resolve_pairs(Manifest([*fakes, *reals]))
    assert len(resolved) == 6803
    counts = count_rows(resolved)
    assert len(counts) == 4803
    assert {(row["n_real"], row["n_fake"]) for row in counts} == {(2000, 1)}
    few = restrict(resolved, {"g0100", "g4902"})
    assert len(few) == 2002
    assert {tuple(members(text)) for text in few.texts("paired_with").values().values()} == {
        ("g0100",), ("g4902",), ("g0100", "g4902"),
    }  # fmt: skip
