"""Saved results by name: what is found, listed, compared and removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featcache as fc
from featcache.errors import DataError, SettingsError
from featcache.evaluate import compare
from featcache.evaluate.comparison import compare_runs
from featcache.evaluate.results_store import find_result, name_result, result_names
from featcache.reports.saved import load_runs
from featcache.reports.tables.comparison import runs_table

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def store(toy: tuple[Any, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three named probes."""
    from featcache.cli import run

    folder = tmp_path_factory.mktemp("named") / "store"
    shutil.copytree(toy[1], folder)
    for features, name in (("a", "good"), ("c", "noise"), ("a,c", "both")):
        command = ["probe", features, "--cache", folder, "--train", "progan", "--name", name, "-q"]
        assert run([str(part) for part in command]) == 0
    return folder


def test_results_are_found_by_name_digest_and_features(featcache: Call, store: Path) -> None:
    listed = featcache("results", "ls", "--cache", store, "--json").json["results"]
    assert {name for one in listed for name in one["names"]} == {"good", "noise", "both"}
    good = find_result(store, "good")
    assert find_result(store, good.name[:10]) == good
    assert find_result(store, "a", probes=True) == good
    assert find_result(store, str(good)) == good
    assert find_result(store, "c,a") == find_result(store, "both")
    shown = featcache("results", "show", "good", "--cache", store, "--json").json
    again = featcache("probe", "a", "--cache", store, "--train", "progan", "--json").json
    assert shown["generators"] == again["generators"]
    with pytest.raises(DataError, match="featcache probe --features clip"):
        find_result(store, "clip", probes=True)


@pytest.mark.parametrize("name", ["../x", "", "a b", "-x", ".", "x" * 81, "a/b"])
def test_names_are_file_names(store: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be called"):
        name_result(store, name, "0" * 32)


def test_a_wrong_name_stops_before_the_work(featcache: Call, store: Path) -> None:
    ran = featcache("probe", "a", "--cache", store, "--name", "../../x")
    assert ran.code == 2
    assert "cannot be called" in ran.err


def test_every_pair_is_corrected_together(store: Path) -> None:
    runs = load_runs(store, ["good", "noise", "both"])
    compared = compare_runs(runs, "auroc")
    raw, corrected = [], []
    for first, second in combinations(runs, 2):
        (a, scores_a), (_, scores_b) = runs[first], runs[second]
        groups = {name: row.group for name, row in a.generators.items()}
        plain = compare(scores_a, scores_b, groups, "auroc", trained=["progan"])
        done = compared[first, second]
        assert plain.unseen is not None
        assert done.unseen is not None
        raw += [c.p for c in plain.generators.values()]
        raw += [c.p for c in plain.groups.values()]
        raw += [c.p for c in plain.groups_unseen.values()]
        raw += [plain.overall.p, plain.unseen.p]
        corrected += [c.p_holm for c in done.generators.values()]
        corrected += [c.p_holm for c in done.groups.values()]
        corrected += [c.p_holm for c in done.groups_unseen.values()]
        corrected += [done.overall.p_holm, done.unseen.p_holm]
    # Holm (1979): the i-th smallest of m p-values times m - i + 1, never below the one before.
    p = np.array(raw)
    order = np.argsort(p)
    expected = np.empty_like(p)
    expected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    np.testing.assert_allclose(corrected, expected, atol=1e-12)


def test_the_table_of_a_paper(featcache: Call, store: Path, tmp_path: Path) -> None:
    runs = load_runs(store, ["good", "noise"])
    table = runs_table(runs, compare_runs(runs))
    labels = [column.label for column in table.columns]
    assert labels[:4] == ["Features", "adm", "biggan", "progan"]
    assert labels[4:] == ["mean of diffusion", "mean of GAN", "mean of 3"]
    good, noise = table.rows
    assert not noise.bold
    assert "mean" in good.bold  # AP .9 against .5 on 240 images
    file = tmp_path / "t.tex"
    ran = featcache("compare", "good", "noise", "--cache", store, "--latex", file, "--json")
    assert ran.code == 0, ran.err
    assert r"\textbf" in file.read_text()
    (pair,) = ran.json["comparisons"]
    assert (pair["first"], pair["second"]) == ("good", "noise")
    spoken = featcache("compare", "good", "noise", "both", "--cache", store)
    assert "of 3" in spoken.out


def test_python_compares_by_name(store: Path) -> None:
    by_name = fc.compare("good", "noise", cache=store)
    features = fc.load_features("a", cache=store)
    fitted = features.probe("a", train="progan", name="again")
    assert result_names(store)["again"] == find_result(store, "good").name
    assert fc.compare(fitted, "noise", cache=store).overall == by_name.overall


def test_other_training_sets_are_said(featcache: Call, store: Path) -> None:
    command = ["probe", "a", "--cache", store, "--train", "adm", "--name", "other", "-q"]
    assert featcache(*command).code == 0
    ran = featcache("compare", "good", "other", "--cache", store, "--json")
    assert any("training sets differ" in note for note in ran.json["notes"])


def test_removal_leaves_nothing_and_touches_nothing_else(featcache: Call, store: Path) -> None:
    before = find_result(store, "good")
    command = ["probe", "b", "--cache", store, "--name", "gone", "-q"]
    assert featcache(*command).code == 0
    folder = find_result(store, "gone")
    assert featcache("results", "rm", "gone", "--cache", store).code == 0
    assert not folder.exists()
    assert "gone" not in result_names(store)
    assert find_result(store, "good") == before
    elsewhere = store.parent / "elsewhere"
    shutil.copytree(before, elsewhere)
    ran = featcache("results", "rm", elsewhere, "--cache", store)
    assert ran.code == 3
    assert elsewhere.exists()


def test_an_ablation_is_shown_again(featcache: Call, store: Path) -> None:
    command = ["--features", "a,c", "--cache", store, "--name", "sets"]
    assert featcache("ablate", *command).code == 0
    shown = featcache("results", "show", "sets", "--cache", store)
    assert shown.code == 0, shown.err
    assert "a + c" in shown.out
    ran = featcache("compare", "sets", "good", "--cache", store)
    assert ran.code == 3
    assert "only probes are compared" in ran.err
