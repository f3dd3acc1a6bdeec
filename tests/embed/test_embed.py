"""Maps and numbers of a feature space, spectra, and reports of what was saved."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.datasets import Sample
from featcache.embed.projection import make_map
from featcache.embed.run import choose
from featcache.embed.separation import knn_purity, linear_auroc, silhouette
from featcache.embed.spectra import log_spectrum, radial_mean, spectra
from featcache.errors import DataError
from featcache.reports.formatting import Estimate

VIZ = [
    pytest.importorskip(name, reason="needs featcache[viz]") for name in ("matplotlib", "plotly")
]


def blobs(n: int, shift: float, width: int = 16) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], n // 2)
    features = rng.normal(size=(n, width)).astype(np.float32)
    features[labels == 1, 0] += shift
    return features, labels, np.arange(n).astype(object)


def test_numbers_know_separation_from_none() -> None:
    apart, labels, sources = blobs(600, 6.0)
    mixed, _, _ = blobs(600, 0.0)
    assert linear_auroc(apart, labels, sources) > 0.99
    assert linear_auroc(mixed, labels, sources) == pytest.approx(0.5, abs=0.1)
    assert knn_purity(apart, labels, sources) > 0.9
    assert knn_purity(mixed, labels, sources) == pytest.approx(0.5, abs=0.06)
    assert silhouette(apart, labels) > silhouette(mixed, labels) + 0.05


def test_one_class_of_few_gives_no_purity_by_its_size() -> None:
    features, labels, sources = blobs(1000, 0.0)
    rare = (labels == 0) | (np.arange(1000) < 100)
    assert knn_purity(features[rare], labels[rare], sources[rare]) == pytest.approx(0.5, abs=0.08)


def test_fewer_fakes_than_folds_still_give_a_ranking() -> None:
    features, labels, sources = blobs(100, 6.0)
    few = (labels == 0) | (np.arange(100) < 6)  # three fakes, five folds
    assert linear_auroc(features[few], labels[few], sources[few]) > 0.9
    one = (labels == 0) | (np.arange(100) < 2)
    assert np.isnan(linear_auroc(features[one], labels[one], sources[one]))


def test_crops_of_one_photograph_do_not_count_as_neighbours() -> None:
    features, labels, _ = blobs(300, 0.0)
    twice, both = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    sources = np.repeat(np.arange(300), 2).astype(object)
    assert knn_purity(twice, both, np.arange(600).astype(object)) > 0.57
    assert knn_purity(twice, both, sources) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("method", ["umap", "pca", "probe", "tsne"])
def test_maps_are_finite_repeatable_and_separate_what_is_separate(method: str) -> None:
    if method == "umap":
        pytest.importorskip("umap", reason="needs featcache[viz]")
    features, labels, sources = blobs(120, 8.0)
    points, settings = make_map(method, features, labels, sources, 0)
    again, _ = make_map(method, features, labels, sources, 0)
    np.testing.assert_array_equal(points, again)
    assert points.shape == (120, 2)
    assert np.isfinite(points).all()
    centres = [points[labels == label].mean(axis=0) for label in (0, 1)]
    assert np.linalg.norm(centres[0] - centres[1]) > points.std(axis=0).max()
    if method == "umap":
        assert (settings["n_neighbors"], settings["min_dist"], settings["metric"]) == (
            5,
            0.3,
            "cosine",
        )


def sample(i: int, label: int, paired_with: str = "progan", split: str = "test") -> Sample:
    return Sample(
        dataset="d",
        root="/d",
        path=f"/d/{i}.png",
        label=label,
        generator=paired_with if label else "real",
        paired_with=paired_with,
        family="GAN",
        split=split,
        source=f"s{i}",
        sample_id=f"{i:032x}",
    )


def test_at_most_so_many_per_class_and_generator_and_always_the_same() -> None:
    samples = [sample(i, i % 2, ("progan", "biggan")[i % 4 // 2]) for i in range(400)]
    kept = choose(samples, "test", 30)
    assert len(kept) == 4 * 30
    assert {s.sample_id for s in kept} == {s.sample_id for s in choose(samples[::-1], "test", 30)}
    with pytest.raises(DataError, match="--split all"):
        choose(samples, "val", 30)


def test_command_draws_maps_and_an_interactive_page(
    featcache: Callable[..., Any], extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ["embed", "--features", "efficientnet-lite0", "--cache", extracted[1], "--json"]
    ran = featcache(*command, "--method", "pca,probe", "--out", tmp_path / "e", "-q")
    assert ran.code == 0, ran.err
    assert [s["kind"] for s in ran.json["separations"]] == [
        "all",
        "group",
        "generator",
        "generator",
    ]
    assert ran.json["n_samples"] == 32
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert {"embed.html", "embed.json", "exhibit.json", "pca.svg", "probe.svg"} <= names
    page = (tmp_path / "e" / "embed.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 32


HOVER = """
window.addEventListener("load", () => setTimeout(async () => {
  const plot = document.getElementById("plot"), out = {};
  out.points = plot.querySelectorAll(".point").length;
  plot.emit("plotly_hover", { points: [{ customdata: 3 }] });
  const card = document.getElementById("card"), picture = document.getElementById("picture");
  await picture.decode();
  out.card = [card.hidden, picture.src.slice(0, 22), picture.naturalWidth, picture.alt];
  plot.emit("plotly_unhover", {});
  out.gone = card.hidden;
  const method = document.getElementById("method");
  const before = plot.querySelector(".point").getAttribute("transform");
  method.value = "probe"; method.dispatchEvent(new Event("change"));
  out.moved = before !== plot.querySelector(".point").getAttribute("transform");
  out.asked = performance.getEntriesByType("resource").map((e) => e.name)
    .filter((n) => !/^(data|blob):/.test(n));
  const pre = document.createElement("pre"); pre.id = "findings";
  pre.textContent = JSON.stringify(out);
  document.body.append(pre);
}, 1500));
"""


@pytest.mark.browser
def test_hovering_shows_the_picture(
    featcache: Callable[..., Any], extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    command = ["embed", "--features", "efficientnet-lite0", "--cache", extracted[1], "-q"]
    assert featcache(*command, "--method", "pca,probe", "--out", tmp_path / "e").code == 0
    page = tmp_path / "e" / "embed.html"
    text = page.read_text("utf-8")
    page.write_text(text.replace("</body>", f"<script>{HOVER}</script></body>"), "utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --dump-dom"
    flags += " --enable-logging=stderr --v=0 --virtual-time-budget=15000 --window-size=1280,900"
    browser = ["chromium", *flags.split(), f"--user-data-dir={tmp_path / 'p'}", page.as_uri()]
    run = subprocess.run(browser, check=False, capture_output=True, text=True, timeout=180)
    outcome = json.loads(run.stdout.split('<pre id="findings">')[1].split("</pre>")[0])
    assert outcome["points"] == 32
    assert outcome["card"][:2] == [False, "data:image/jpeg;base64"]
    assert outcome["card"][2] > 0
    assert ": " in outcome["card"][3]
    assert outcome["gone"]
    assert outcome["moved"]
    assert outcome["asked"] == []
    assert "CONSOLE" not in run.stderr


def test_spectrum_of_a_checkerboard_has_its_peak_at_the_corner() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 40 + 100).astype(np.uint8)
    values = log_spectrum(Image.fromarray(board))
    assert np.unravel_index(values.argmax(), values.shape) == (0, 0)
    ring = np.hypot(*(np.indices((64, 64)) - 32)).round()
    assert radial_mean(ring).tolist() == pytest.approx(list(range(33)), abs=0.01)


def test_spectra_of_files_are_means_and_small_images_are_left_out(
    featcache: Callable[..., Any], extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    from featcache.datasets import load_manifests

    manifest = load_manifests(extracted[1])
    outcome = spectra(manifest, size=64)
    assert [(s.name, s.n) for s in outcome.spectra] == [("real", 16), ("biggan", 8), ("progan", 8)]
    with pytest.raises(DataError, match="smaller --size"):
        spectra(manifest, size=128)
    command = ["spectra", "--cache", extracted[1], "--size", 64, "--out", tmp_path / "s", "--json"]
    ran = featcache(*command, "-q")
    assert ran.code == 0, ran.err
    assert Path(ran.json["files"][0]).is_file()


def test_report_of_saved_results_compares_runs_and_shows_exhibits(
    featcache: Callable[..., Any], extracted: tuple[Path, Path], tmp_path: Path
) -> None:
    store = ["--cache", extracted[1], "-q"]
    digests = []
    for train in ("progan", "biggan"):
        ran = featcache(
            "probe", "--features", "efficientnet-lite0", "--train", train, "--json", *store
        )
        assert ran.code == 0, ran.err
        digests.append(ran.json["digest"])
    assert featcache("spectra", "--size", 64, "--out", tmp_path / "s", *store).code == 0
    out = tmp_path / "r"
    ran = featcache(
        "report", *digests, "--compare", "--exhibit", tmp_path / "s", "--out", out, "--json", *store
    )
    assert ran.code == 0, ran.err
    document = json.loads((out / "report.json").read_text())
    headings = [part["heading"] for part in document["parts"]]
    assert headings[0] == "efficientnet-lite0 on progan against efficientnet-lite0 on biggan"
    table = document["parts"][0]["tables"][0]
    rows = {row["name"]: row for row in table["rows"]}
    for row in (rows["progan"], rows["biggan"]):
        difference = row["first"]["value"] - row["second"]["value"]
        assert row["difference"]["value"] == pytest.approx(difference)
    page = (out / "report.html").read_text("utf-8")
    assert page.count("Mean residual spectra") >= 1
    assert page.count("<article") == 4
    for file in ("report.md", "csv/compared-compared-ap.csv", "latex/report.tex"):
        assert (out / file).is_file()
    assert len(list((out / "figures").glob("*.svg"))) >= 6
    newest = featcache("report", "--out", tmp_path / "n", "--format", "md", *store)
    assert newest.code == 0
    assert [path.name for path in (tmp_path / "n").iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing-like-it"], 3, "There is no result"),
        (["--format", "doc"], 2, "no report format 'doc'"),
    ],
)
def test_report_says_what_is_wrong(
    featcache: Callable[..., Any],
    extracted: tuple[Path, Path],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    store = ["--cache", extracted[1], "-q", "--out", tmp_path / "r"]
    assert featcache("probe", "--features", "efficientnet-lite0", *store[:3]).code == 0
    ran = featcache("report", *arguments, *store)
    assert ran.code == code
    assert message in ran.err


@pytest.mark.slow
def test_twenty_thousand_features_take_less_than_ninety_seconds(tmp_path: Path) -> None:
    from featcache.embed.run import _separations

    features, labels, sources = blobs(20_000, 1.0, 768)
    samples = [replace(sample(i, int(y)), source=f"s{i}") for i, y in enumerate(labels)]
    start = time.perf_counter()
    for method in ("umap", "pca", "probe"):
        make_map(method, features, labels, sources, 0)
    _separations(features, samples, labels, sources)
    assert time.perf_counter() - start < 90


def test_audit_is_a_part_of_the_report() -> None:
    from featcache.audit import AuditResult, Duplicates, GeneratorAudit
    from featcache.reports.tables.audit import audit_part

    outcome = GeneratorAudit(
        n_real=9, n_fake=8, auroc=0.97, auroc_ci=(0.9, 1.0), feature="format", verdict="solvable"
    )
    result = AuditResult(
        view="clean", generators={"progan": outcome}, duplicates=Duplicates(n_leaks=2), balance=[],
        corrupt=[], remedy="jpeg:90", sentences=["progan is solvable."], n_images=17,
    )  # fmt: skip
    part = audit_part(result)
    assert part.finding.startswith("Something was found")
    (row,) = part.tables[0].rows
    assert (row.cells["verdict"], row.cells["auroc"]) == ("solvable", Estimate(0.97, 0.9, 1.0))
    assert dict(part.facts)["Equal files in training and test"] == "2"
