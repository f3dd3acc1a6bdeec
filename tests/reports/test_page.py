"""The page with every section, as a person uses it in a browser; and the same rows in every
other format.
"""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.reports.export import escape, markdown, to_json, write_tables
from featcache.reports.html import write_page
from featcache.reports.report import Report, ablation_part, probe_part
from featcache.reports.tables.base import Exhibit
from featcache.results import (
    AblationResult,
    AblationRow,
    Certificate,
    Comparison,
    Contribution,
    CPoint,
    Diagnosis,
    EvalResult,
    GeneratorResult,
    GroupResult,
    Mean,
    Scores,
    Selection,
    TrainResult,
    ViewResult,
)

for package in ("jinja2", "matplotlib", "pandas", "tabulate"):
    pytest.importorskip(package, reason="reports need featcache[viz]")

GENERATORS = {"cyclegan": "GAN", "biggan_1": "GAN", "adm": "diffusion", "style26": "perceptual"}
CONTROL = "control-jpeg"
METRICS = [
    "ap",
    "auroc",
    "acc",
    "r_acc",
    "f_acc",
    "bacc",
    "acc_val",
    "acc_oracle",
    "tpr_at_fpr1",
    "eer",
    "brier",
    "ece",
]


def result(group: str, base: float) -> GeneratorResult:
    values: dict[str, Any] = {m: base - 0.0137 * i for i, m in enumerate(METRICS)}
    intervals: dict[str, Any] = {f"{m}_ci": (v - 0.0312, v + 0.0288) for m, v in values.items()}
    return GeneratorResult(group=group, n_real=60, n_fake=40, n_sources=60, **values, **intervals)


def scored(picture: Path) -> Scores:
    rng = np.random.default_rng(0)
    names = [name for name in (*GENERATORS, CONTROL) for _ in range(100)]
    label = np.tile(np.repeat([0, 1], [60, 40]), len(GENERATORS) + 1)
    logit = rng.normal(2.0 * label - 1.0, 1.2)
    ids = np.array([f"{name}{i}" for i, name in enumerate(names)], dtype=object)
    return Scores(
        generator=np.array(names, dtype=object),
        split=np.array(["test"] * len(names), dtype=object),
        path=np.array([str(picture)] * len(names), dtype=object),
        sample_id=ids,
        source=ids,
        label=label.astype(np.int64),
        score=1 / (1 + np.exp(-logit)),
        logit=logit,
    )


def evaluated() -> EvalResult:
    generators = {
        name: result(g, 0.95 - 0.07 * i) for i, (name, g) in enumerate(GENERATORS.items())
    }
    groups = {
        group: GroupResult(
            mAP=0.8123,
            mean_acc=0.7,
            mean_auroc=0.75,
            generators=[n for n, g in GENERATORS.items() if g == group],
            means={"ap": Mean(value=0.8123, ci=(0.79, 0.83))},
        )
        for group in sorted(set(GENERATORS.values()))
    }
    views = {
        name: ViewResult(
            view=name,
            mAP=0.8 - drop,
            mean_acc=0.7 - drop,
            mAP_ci=(0.75 - drop, 0.84 - drop),
            mean_acc_ci=(0.65 - drop, 0.74 - drop),
            generators={n: result(g, 0.9 - drop) for n, g in GENERATORS.items()},
        )
        for name, drop in (("jpeg:90", 0.02), ("jpeg:50", 0.1), ("blur:1.5", 0.17))
    }
    path = [
        CPoint(C=10.0**e, score=0.8 - 0.01 * (e + 1) ** 2, standard_error=0.012)
        for e in range(-3, 3)
    ]
    return EvalResult(
        features=["lite", "clip"],
        n_features=2048,
        train=TrainResult(
            generators=["cyclegan"], datasets=["d"], n_real=90, n_fake=80, n_sources=70
        ),
        C=0.1,
        threshold=0.5,
        mAP=0.8534,
        mean_acc=0.7012,
        mAP_ci=(0.8211, 0.8788),
        mean_acc_ci=(0.6712, 0.7333),
        groups=groups,
        generators=generators,
        controls={CONTROL: result("control", 0.61)},
        keys=[{"backbone": "lite"}, {"backbone": "clip"}],
        notes=["All fakes are <PNG> files."],
        versions={"featcache": "0.1.0"},
        views=views,
        selection=Selection(
            split_by="source", n_folds=5, metric="ap", path=path, C=0.1, threshold=0.42
        ),
        certificate=Certificate(
            objective=1.0, gradient_norm=1e-6, gap=1e-7, n_iter=12, converged=True
        ),
        diagnosis=[Diagnosis(code="control", sentence="The control scores high.")],
        digest="0" * 32,
    )


def ablated(p: float = 0.004) -> AblationResult:
    difference = Comparison(
        other=["lite"], metric="ap", difference=0.0312, ci=(0.01, 0.05), p=p / 3, p_holm=p
    )
    rows = [
        AblationRow(
            features=features,
            n_features=1280 * len(features),
            C=0.1,
            train=["cyclegan"],
            mAP=0.9 - 0.03 * i,
            mean_acc=0.8,
            mAP_ci=(0.86 - 0.03 * i, 0.93 - 0.03 * i),
            mean_acc_ci=(0.7, 0.9),
            generators={n: {"ap": 0.97 - 0.11 * j - 0.03 * i} for j, n in enumerate(GENERATORS)},
            vs_best_single=difference if i == 0 else None,
        )
        for i, features in enumerate((["lite", "clip"], ["lite"], ["clip"]))
    ]
    return AblationResult(
        features=["lite", "clip"],
        rows=rows,
        sort="mAP",
        best_single=["lite"],
        baseline=["lite"],
        train=evaluated().train,
        contributions=[
            Contribution(feature="lite", shapley=0.21, ci=(0.1, 0.3), alone=0.87, last=0.06),
            Contribution(feature="clip", shapley=-0.02, ci=(-0.1, 0.1), alone=0.84, last=0.03),
        ],
        similarity={"lite": {"lite": 1.0, "clip": 0.31}, "clip": {"lite": 0.31, "clip": 1.0}},
        C_grid=[0.1, 1.0],
        seconds=1.5,
    )


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "picture.png"
    gradient = np.linspace(0, 255, 64 * 64 * 3).astype(np.uint8).reshape(64, 64, 3)
    Image.fromarray(gradient).save(path)
    return path


@pytest.fixture(scope="module")
def report(picture: Path) -> Report:
    exhibit = Exhibit(
        title="A map", text="Hover.", pictures=(("a gradient", picture.read_bytes()),)
    )
    parts = (probe_part(evaluated(), scored(picture)), ablation_part(ablated()))
    return Report(title="A probe", command="featcache probe", parts=parts, exhibits=(exhibit,))


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(report, tmp_path_factory.mktemp("page") / "report.html")


def numbers(value: Any) -> set[str]:
    """Return every number of a JSON document as each format may show it."""
    shown: set[str] = set()
    if isinstance(value, dict):
        for item in value.values():
            shown |= numbers(item)
    elif isinstance(value, list):
        for item in value:
            shown |= numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        shown |= {f"{100 * value:.1f}", f"{100 * value:+.1f}", f"{value:.3g}", f"{value:.3f}"}
        shown |= {f"{value:,.0f}"} if value == int(value) else set()
        shown |= {repr(float(value)), repr(value)}
    return shown


def cells_of_markdown(text: str) -> list[str]:
    rows = [line for line in text.splitlines() if line.startswith("|") and ":--" not in line]
    return [cell.strip() for row in rows for cell in row.strip("|").split("|")[1:]]


def test_every_number_of_markdown_is_in_the_json(report: Report) -> None:
    known = numbers(json.loads(to_json(report)))
    shown = re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?", " ".join(cells_of_markdown(markdown(report))))
    numeric = [n for n in shown if "." in n]
    assert len(numeric) > 150
    assert set(numeric) <= known


def test_every_number_of_the_page_is_in_the_json(report: Report, page: Path) -> None:
    document = json.loads(to_json(report))
    text = page.read_text("utf-8")
    shown = re.findall(r'data-value="([^"]*)"', text)
    known = numbers(document)
    assert len(shown) > 150
    assert {repr(float(n)) for n in shown} <= known
    message = re.findall(r'class="(?:value|interval)">([^<]*)<', text)
    parts = {n for word in message for n in re.findall(r"[+-]?\d+\.\d+", word)}
    assert parts <= known


def test_csv_has_every_digit_of_the_json(report: Report, tmp_path: Path) -> None:
    document = json.loads(to_json(report))
    write_tables(report, tmp_path, ["csv"])
    seen = {}
    for anchor, part in zip(("probe", "ablation"), document["parts"], strict=True):
        for table in part["tables"]:
            file = tmp_path / "csv" / f"{anchor}-{table['name']}.csv"
            data = list(csv.DictReader(file.read_text("utf-8").splitlines()))
            seen[table["name"]] = compare(data, table)
    assert {"generators", "views", "C", "ablation", "contributions", "similarity"} <= seen.keys()
    assert min(seen.values()) > 0


def compare(data: list[dict[str, str]], table: dict[str, Any]) -> int:
    """Compare a CSV with the rows of a table of the JSON; return how many numbers are equal."""
    result = []
    shown = [column["key"] for column in table["columns"]]
    for read, row in zip(data, table["rows"], strict=True):
        for key, cell in row.items():
            if key not in shown:
                continue
            parts = cell if isinstance(cell, dict) else {"value": cell}
            names = {"value": key, "low": f"{key}_low", "high": f"{key}_high"}
            result += [
                (float(read[names[part]]), number)
                for part, number in parts.items()
                if isinstance(number, (int, float)) and not isinstance(number, bool)
            ]
    assert all(read == number for read, number in result)
    return len(result)


def test_every_number_of_latex_is_in_the_json(report: Report, tmp_path: Path) -> None:
    known = numbers(json.loads(to_json(report)))
    write_tables(report, tmp_path, ["latex"])
    for file in (tmp_path / "latex").glob("*-*.tex"):
        body = file.read_text("utf-8").split("\\toprule")[1].split("\\bottomrule")[0]
        rows = [line.split("&", 1)[1] for line in body.splitlines() if line.count("&") > 1]
        shown = set(re.findall(r"[+-]?\d+\.\d+", " ".join(rows[1:])))
        assert shown <= known, file.name


@pytest.mark.parametrize(("p", "bold"), [(0.004, True), (0.3, False)])
def test_bold_only_where_significant(tmp_path: Path, p: float, bold: bool) -> None:
    report = Report(title="t", command="", parts=(ablation_part(ablated(p)),))
    write_tables(report, tmp_path, ["latex", "md"])
    text = (tmp_path / "latex" / "ablation.tex").read_text("utf-8")
    assert (r"\textbf{90.0}" in text) is bold
    assert text.count(r"\textbf") == (2 if bold else 0)
    assert ("**90.0 [86.0, 93.0]**" in (tmp_path / "report.md").read_text("utf-8")) is bold


@pytest.mark.parametrize("booktabs", [True, False])
def test_latex_compiles(report: Report, tmp_path: Path, booktabs: bool) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not on PATH (Debian: apt-get install texlive-latex-base)")
    long = "Ablation of efficientnet-lite0 and efficientnet-lite0@layer5"
    write_tables(replace(report, title=long), tmp_path, ["latex"])
    main = tmp_path / "latex" / "report.tex"
    if not booktabs:
        main.write_text(main.read_text("utf-8").replace("{booktabs.sty}", "{no-such.sty}"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    run = subprocess.run(
        command, cwd=main.parent, check=False, capture_output=True, text=True, errors="replace"
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert (main.parent / "report.pdf").stat().st_size > 10_000
    assert "Overfull" not in run.stdout


def test_latex_shows_any_name() -> None:
    assert (
        escape("a_b&c^d~e#f%g$h{i}\\")
        == r"a\_b\&c\textasciicircum{}d\textasciitilde{}e\#f\%g\$h\{i\}\textbackslash{}"
    )
    assert escape("生é") == "[U+751F]é"


def test_sections_without_data_are_absent(picture: Path, tmp_path: Path) -> None:
    bare = replace(evaluated(), views={}, selection=None, diagnosis=[], notes=[], controls={})
    report = Report(title="t", command="", parts=(probe_part(bare, scored(picture)),))
    text = write_page(report, tmp_path / "r.html").read_text("utf-8")
    headings = re.findall(r"<h[234][^>]*>([^<]*)<", text)
    assert "Results" in headings
    assert not {"Robustness", "The choice of C", "Read with care"} & set(headings)
    assert "Controls:" not in text


# What a person does, done by a script that runs inside the page; its findings end in the DOM.
ACTIONS = """
window.addEventListener("load", async () => {
  const out = {};
  const table = document.querySelector(".table-generators");
  const names = () => [...table.querySelectorAll("tbody tr:not(.heading) th")]
    .map((c) => c.textContent.trim());
  out.before = names();
  const button = [...table.querySelectorAll("thead button")].find((b) => b.textContent === "AP");
  button.click();
  out.falling = [names(), button.parentElement.getAttribute("aria-sort")];
  button.click();
  out.rising = [names(), button.parentElement.getAttribute("aria-sort")];
  const paper = () => getComputedStyle(document.body).backgroundColor;
  out.colours = ["light", "dark"].map((scheme) => {
    document.querySelector(`.themes [data-theme=${scheme}]`).click();
    return paper();
  });
  const point = document.querySelector("[id^=probe-pr0-] [data-tip], [id^=probe-pr0-][data-tip]");
  const box = point.getBoundingClientRect();
  point.dispatchEvent(new PointerEvent("pointerover",
    { bubbles: true, clientX: box.x, clientY: box.y }));
  const tip = document.getElementById("tip");
  out.tip = [tip.hidden, tip.textContent, point.dataset.tip];
  out.wide = document.documentElement.scrollWidth - window.innerWidth;
  out.asked = performance.getEntriesByType("resource").map((e) => e.name)
    .filter((n) => !n.startsWith("data:"));
  out.focusable = document.querySelectorAll("button, summary, [tabindex='0']").length;
  if (window.axe) {
    out.violations = [];
    for (const scheme of ["light", "dark"]) {
      document.querySelector(`.themes [data-theme=${scheme}]`).click();
      for (const d of document.querySelectorAll("details")) d.open = true;
      const found = await axe.run({ resultTypes: ["violations"] });
      out.violations.push(...found.violations.map((v) =>
        [scheme, v.id, v.impact,
          v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]));
    }
  }
  const pre = document.createElement("pre");
  pre.id = "findings";
  pre.textContent = JSON.stringify(out);
  document.body.append(pre);
});
"""


def use_page(page: Path, folder: Path, width: int, axe: str = "") -> tuple[Any, str]:
    """Open a copy of a page that acts on itself; return what it found and what the browser
    logged.
    """
    text = page.read_text("utf-8")
    text = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", text, count=1)
    text = text.replace("</body>", f"<script>{axe}</script><script>{ACTIONS}</script></body>")
    copy = folder / "used.html"
    copy.write_text(text, "utf-8")
    command = [
        "chromium",
        *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},900",
        *["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom"],
        copy.as_uri(),
    ]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr
    findings = re.search(r'<pre id="findings">(.*?)</pre>', run.stdout, re.DOTALL)
    assert findings, run.stderr
    return json.loads(html.unescape(findings[1])), run.stderr


def axe_source() -> str:
    """Return axe-core's script where npm put it: in tests/node_modules."""
    path = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not installed (npm install --prefix tests axe-core)")
    return path.read_text("utf-8")


def need_chromium() -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_person_uses_the_page(page: Path, tmp_path: Path, width: int) -> None:
    need_chromium()
    seen, log = use_page(page, tmp_path, width)
    assert seen["before"][:3] == ["cyclegan trained on", "biggan_1", "mean of 2"]
    assert seen["falling"][1] == "descending"
    assert seen["rising"][0][:3] == ["biggan_1", "cyclegan trained on", "mean of 2"]
    assert seen["rising"][1] == "ascending"
    assert seen["colours"] == ["rgb(255, 255, 255)", "rgb(21, 23, 26)"]
    assert seen["tip"][0] is False
    assert seen["tip"][1] == seen["tip"][2] != ""
    assert seen["wide"] <= 0, "the page scrolls sideways"
    assert "CONSOLE" not in log
    assert seen["asked"] == []


@pytest.mark.browser
def test_no_serious_barrier_for_anybody(page: Path, tmp_path: Path) -> None:
    need_chromium()
    seen, _ = use_page(page, tmp_path, 1280, axe_source())
    assert [v for v in seen["violations"] if v[2] in ("serious", "critical")] == []
