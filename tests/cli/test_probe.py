"""The commands of the probing engine: shared flags, weights told apart, priors, stores that are
only read.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer

from featcache.cache import FeatureStore, Rows
from featcache.cache.testing import make_key
from featcache.cli._data import grouped
from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.evaluate import (
    ProbeOptions,
    ap_at_priors,
    efficiency,
    load_result,
    load_scores,
    run_probe,
    transfer,
)
from featcache.files import digest_bytes
from featcache.reports.tables.probe import prior_table
from featcache.results import EvalResult, TransferResult

Call = Callable[..., Any]
Toy = tuple[Manifest, Path]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A group of flags."""

    width: Annotated[int, typer.Option("--width", help="Of it.")]
    height: Annotated[int, typer.Option("--height", "-h")] = 2


def test_a_group_is_its_flags() -> None:
    @grouped
    def area(*, name: Annotated[str, typer.Argument()] = "x", size: Size) -> str:
        """Say an area."""
        return f"{name}: {size.width * size.height}"

    shown = inspect.signature(area).parameters
    assert list(shown) == ["name", "width", "height"]
    assert [shown[name].default for name in shown] == ["x", inspect.Parameter.empty, 2]
    assert area(name="y", width=3, height=4) == "y: 12"
    assert area.__doc__ == "Say an area."
    app = typer.Typer(add_completion=False)
    app.command()(area)
    command = typer.main.get_command(app)
    assert command.main(["z", "--width", "5"], standalone_mode=False) == "z: 10"


def test_two_groups_share_no_flag() -> None:
    with pytest.raises(TypeError, match="flags twice: height, width"):

        @grouped
        def both(*, one: Size, second: Size) -> None: ...


def probe(featcache: Call, store: Path, *more: object) -> Any:
    ran = featcache("probe", "--features", "a", "--cache", store, "--json", *more)
    assert ran.code == 0, ran.err
    return ran.json


@pytest.fixture
def twice(toy: Toy, tmp_path: Path) -> tuple[Path, list[Path]]:
    """A store with features 'a' of two weights files: as published, and fine-tuned into noise."""
    manifest, source = toy
    store = FeatureStore(shutil.copytree(source, tmp_path / "store"))
    files = [tmp_path / "published.pth", tmp_path / "tuned.pth"]
    ids = sorted({sample.sample_id for sample in manifest})
    good = FeatureStore(source).read(FeatureStore(source).find("a", view="clean"), ids)
    shutil.rmtree(store.folder(store.find("a", view="clean")))
    for number, file in enumerate(files):
        file.write_bytes(b"weights %d" % number)
        noise = np.random.default_rng(0).normal(size=good.shape).astype(np.float32)
        key = make_key(backbone="a", weights=f"blake2b:{digest_bytes(file.read_bytes())}")
        store.write(key, digest_bytes(b"all"), Rows(ids, (good, noise)[number], {}), {})
    return store.root, files


def test_weights_tell_features_apart(
    featcache: Call, twice: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    store, (published, tuned) = twice
    torn = featcache("probe", "--features", "a", "--cache", store)
    assert torn.code == 2
    assert "differ in weights" in torn.err
    assert "Say which with --weights a=FILE." in torn.err
    good = probe(featcache, store, "--weights", f"a={published}")
    bad = probe(featcache, store, "--weights", tuned)  # one backbone: its name need not be said
    assert good["mAP"] > 0.7 > bad["mAP"]
    assert good["digest"] != bad["digest"]
    assert good["keys"][0]["weights"] == f"blake2b:{digest_bytes(published.read_bytes())}"
    elsewhere = probe(featcache, store, "--weights", f"a={good['keys'][0]['weights']}")
    assert elsewhere["digest"] == good["digest"]
    table = featcache(
        "ablate", "--features", "a,c", "--cache", store, "--json", "--weights", f"a={tuned}"
    )
    alone = next(row for row in table.json["rows"] if row["features"] == ["a"])
    assert alone["mAP"] == pytest.approx(bad["mAP"], abs=1e-6)
    export = ("cache", "export", "--features", "a", "--cache", store, "--out", tmp_path / "f.npz")
    assert featcache(*export).code == 2
    assert featcache(*export, "--weights", f"a={published}").code == 0
    with np.load(tmp_path / "f.npz") as arrays:
        assert arrays["features"].shape == (480, 12)


def test_weights_that_are_not_there(
    featcache: Call, twice: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    store, (published, _) = twice
    base = ("probe", "--features", "a", "--cache", store, "--weights")
    ran = featcache(*base, f"a={tmp_path / 'none.pth'}")
    assert (ran.code, "cannot be read: No such file" in ran.err) == (5, True)
    ran = featcache(*base, f"x={published}")
    assert (ran.code, "x is not among the backbones a" in ran.err) == (2, True)
    (tmp_path / "other.pth").write_bytes(b"other")
    ran = featcache(*base, f"a={tmp_path / 'other.pth'}")
    assert ran.code == 4
    assert f"of weights blake2b:{digest_bytes(published.read_bytes())}" in ran.err


def test_priors_stand_beside_ap(featcache: Call, toy: Toy) -> None:
    _, store = toy
    outcome = probe(featcache, store, "--prior", "0.01,0.5")
    assert list(outcome["at_priors"]) == ["0.01", "0.5"]
    assert outcome["prior"] == 0.01
    folder = store / "results" / outcome["digest"]
    result = load_result(folder)
    assert isinstance(result, EvalResult)
    expected = ap_at_priors(load_scores(folder), [0.01])[0.01]
    assert result.at_priors["0.01"] == expected
    for name, own in result.generators.items():
        rare, half = result.at_priors["0.01"][name], result.at_priors["0.5"][name]
        assert rare.value < half.value == pytest.approx(own.ap, abs=1e-9)  # half are fakes
        assert rare.ci[0] <= rare.value <= rare.ci[1]
        assert own.ap_prior == pytest.approx(rare.value, abs=1e-12)
    table = prior_table(result)
    assert table is not None
    assert [column.label for column in table.columns] == ["Generator", "AP", "at 1 %", "at 50 %"]
    assert [row.cells["name"] for row in table.rows][-1] == "Mean of 3"
    plain = probe(featcache, store)
    assert (plain["at_priors"], plain["prior"]) == ({}, 0.5)
    for wrong in ("0", "1.5", "half"):
        assert featcache("probe", "--features", "a", "--cache", store, "--prior", wrong).code == 2


def test_a_store_that_is_only_read(toy: Toy, tmp_path: Path) -> None:
    """Results are printed all the same, one line says that they are not kept, or they are kept
    elsewhere.
    """
    store = shutil.copytree(toy[1], tmp_path / "store", ignore=shutil.ignore_patterns("results"))
    for path in [store, *store.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before, kept = sorted(store.rglob("*")), tmp_path / "kept"
    base = ["--cache", str(store), "--json", "-q", "--features"]
    elsewhere = ["ablate", *base, "a", "--results", str(kept)]
    ran = run_powerless(["probe", *base, "a"], ["ablate", *base, "a"], elsewhere, elsewhere)
    assert ran.returncode == 0, ran.stderr
    probed, _, first, again = read_documents(ran.stdout)
    assert probed["digest"]
    lines = ran.stderr.splitlines()
    assert len(lines) == 2  # of the first two; nothing from the others
    assert all(line.startswith("The result is not kept: ") for line in lines)
    assert all("--results DIR" in line for line in lines)
    assert first == again  # the seconds too: read, not fitted
    assert load_result(kept / "results" / first["digest"])
    assert sorted(store.rglob("*")) == before


def read_documents(text: str) -> list[Any]:
    """Return the JSON documents that stand behind each other in a text."""
    outcome, rows, decoder = [], 0, json.JSONDecoder()
    while rows < len(text.rstrip()):
        document, rows = decoder.raw_decode(text, rows)
        outcome.append(document)
        rows += 1  # the line end
    return outcome


def run_powerless(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands in one process under which file permissions hold for root too; skip where
    that cannot be.
    """
    powers = "-dac_override,-dac_read_search"
    prefix = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]
    if os.geteuid() != 0:
        prefix = []
    elif not shutil.which("setpriv") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("root cannot give up its powers here (no setpriv)")
    code = f"from featcache.cli import run\nassert not any(map(run, {list(commands)!r}))"
    command = [*prefix, sys.executable, "-P", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_oneclass_trains_on_fakes_alone(toy: Toy) -> None:
    """Reals in the training set change nothing; without them the other heads say what does."""
    manifest, folder = toy
    alone = manifest.where(lambda sample: sample.label == 1 or sample.split == "test")
    options = ProbeOptions(features=["a"], head="oneclass", n_resamples=50)
    fakes = run_probe(alone, FeatureStore(folder), options)
    both = run_probe(manifest, FeatureStore(folder), options)
    np.testing.assert_array_equal(fakes.scores.logit, both.scores.logit)
    assert (fakes.result.train.n_real, fakes.result.train.n_fake) == (0, 120)
    assert fakes.result.mAP == both.result.mAP
    with pytest.raises(DataError, match=r"no reals: .* oneclass does without reals"):
        run_probe(alone, FeatureStore(folder), ProbeOptions(features=["a"]))


def test_transfer_command(featcache: Call, toy: Toy, tmp_path: Path) -> None:
    _, store = toy
    base = ("transfer", "--features", "a,c", "--cache", store)
    first = featcache(*base, "--json", "--csv", tmp_path / "t.csv")
    assert first.code == 0, first.err
    outcome = first.json
    for kind in ("each", "without"):
        assert set(outcome[kind]) == set(outcome["unseen"][kind]) == {"progan", "biggan", "adm"}
    others = [outcome["each"]["adm"][name]["ap"] for name in ("progan", "biggan")]
    assert outcome["unseen"]["each"]["adm"]["value"] == pytest.approx(np.mean(others), abs=1e-12)
    left_out = outcome["without"]["adm"]["adm"]
    assert outcome["unseen"]["without"]["adm"] == {"value": left_out["ap"], "ci": left_out["ap_ci"]}
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 3 * 3
    assert lines[0].startswith("set,generator,tested_on,ap,ap_low,ap_high,auroc,")
    assert featcache(*base, "--json").json == outcome  # read, not fitted: the seconds are the same
    shown = featcache(*base)
    assert "Left out" in shown.out
    assert "on generators that they have not seen" in shown.out.replace("\n", " ")
    result = load_result(store / "results" / outcome["digest"])
    assert isinstance(result, TransferResult)
    assert result.each["adm"]["progan"].ap == outcome["each"]["adm"]["progan"]["ap"]
    for wrong in (("--C", "grid"), ("--test-view", "clean,jpeg:50")):
        ran = featcache(*base, *wrong)
        assert (ran.code, "here" in ran.err) == (2, True)


def test_efficiency_command_and_report(featcache: Call, toy: Toy, tmp_path: Path) -> None:
    _, store = toy
    base = ("efficiency", "--features", "a", "--cache", store, "--sizes", "5,20", "--seeds", "3")
    first = featcache(*base, "--json", "--csv", tmp_path / "e.csv")
    assert first.code == 0, first.err
    points = first.json["points"]
    assert [(p["n"], len(p["mAP"]), p["whole"]) for p in points] == [
        (5, 3, False), (20, 3, False), (120, 1, True)
    ]  # fmt: skip
    for point in points:
        assert point["ci"][0] <= point["mean"] <= point["ci"][1]
        assert point["mean"] == pytest.approx(np.mean(point["mAP"]), abs=1e-12)
    assert points[0]["deviation"] == pytest.approx(np.std(points[0]["mAP"], ddof=1), abs=1e-12)
    assert points[-1]["deviation"] is None
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 1 + 3 + 3 + 1
    assert featcache(*base, "--json").json == first.json
    assert "all (120)" in featcache(*base).out
    for wrong in ("0", "few"):
        assert featcache(*base[:5], "--sizes", wrong).code == 2
    second = featcache("transfer", "--features", "a", "--cache", store, "--json").json["digest"]
    made = featcache(
        "report", first.json["digest"], second, "--cache", store, "--out", tmp_path / "r", "--json",
        "--format", "html,csv,svg",
    )  # fmt: skip
    assert made.code == 0, made.err
    page = (tmp_path / "r" / "report.html").read_text("utf-8")
    assert "training samples per class" in page
    assert page.count('class="sortable table-') == 3
    assert "table-leave-one-out" in page
    names = {Path(file).name for file in made.json["files"]}
    assert {"r1-curve.svg", "r1-efficiency.csv", "r2-transfer.csv"} <= names


def test_a_curve_of_oneclass_needs_no_reals(toy: Toy) -> None:
    manifest, folder = toy
    alone = manifest.where(lambda sample: sample.label == 1 or sample.split == "test")
    request = ProbeOptions(features=["a"], head="oneclass", n_resamples=20)
    curve = efficiency(alone, FeatureStore(folder), request, sizes=[30], n_seeds=2)
    assert [(p.n, len(p.mAP)) for p in curve.points] == [(30, 2), (120, 1)]
    assert curve.train.n_real == 0
    matrix = transfer(alone, FeatureStore(folder), request)
    assert set(matrix.each) == {"progan", "biggan", "adm"}
