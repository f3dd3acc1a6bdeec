"""The commands of the probing engine: shared flags, weights told apart, priors, stores that are only read."""

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
from featcache.cli._grouping import grouped
from featcache.datasets import Manifest
from featcache.errors import DataError
from featcache.evaluate import ProbeOptions, ap_at_priors, load_result, load_scores, run_probe
from featcache.hashing import digest_bytes
from featcache.reports.probe_tables import prior_table
from featcache.results import EvalResult

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
        def both(*, one: Size, other: Size) -> None: ...


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
    found = probe(featcache, store, "--prior", "0.01,0.5")
    assert list(found["at_priors"]) == ["0.01", "0.5"]
    assert found["prior"] == 0.01
    folder = store / "results" / found["digest"]
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
    """Results are printed all the same, one line says that they are not kept, or they are kept elsewhere."""
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
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        document, at = decoder.raw_decode(text, at)
        found.append(document)
        at += 1  # the line end
    return found


def run_powerless(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands in one process under which file permissions hold for root too; skip where that cannot be."""
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
