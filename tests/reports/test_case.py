"""The case report: every file is on the page, strings are inert, it prints, axe finds nothing."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featcache import Detector
from featcache.detect.detector import TOY_HEAD
from featcache.probes import load_head
from featcache.reports.case import format_probability, write_case
from featcache.testing import make_images

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, a damaged, an empty and a huge one, a film and a document."""
    folder = tmp_path_factory.mktemp("case") / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = f"Maker {EVIL}", "x" * 5000, "Editor 2.1"
    for number, image in enumerate(make_images(2, seed=7, size=300)):
        image.save(folder / f"photo{number}.jpg", exif=exif, quality=83)
    (folder / "<b>name.jpg").write_bytes((folder / "photo0.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes((folder / "photo0.jpg").read_bytes()[:900])
    (folder / "empty.png").write_bytes(b"")
    Image.new("L", (20_000, 7_000)).save(folder / "huge.png")
    (folder / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    (folder / "notes.docx").write_bytes(b"PK")
    return folder


@pytest.fixture(scope="module")
def case(photos: Path) -> tuple[Path, dict[str, Any]]:
    """The page and the JSON of one run of the command line."""
    from featcache.cli import run

    page, table = photos.parent / "case.html", photos.parent / "out.csv"
    command = ["score", photos, "--head", "toy", "--report", page, "--out", table, "-q"]
    assert run([str(part) for part in command]) == 6
    detector = Detector("toy")
    return page, {"images": detector(photos), "skipped": detector.skipped}


def test_every_file_is_accounted_for(case: tuple[Path, dict[str, Any]], photos: Path) -> None:
    text = html.unescape(case[0].read_text("utf-8"))
    listed = {p.path for p in case[1]["images"]} | {one.path for one in case[1]["skipped"]}
    assert listed == {str(path) for path in photos.iterdir()}
    for path in photos.iterdir():
        assert str(path) in text
    digest = hashlib.sha256((photos / "photo0.jpg").read_bytes()).hexdigest()
    for fact in (digest, "300 x 300 pixels", "about 83", "Editor 2.1", "6 image files", "(.mp4)"):
        assert fact in text, fact


def test_head_and_errors_stand_on_the_page(case: tuple[Path, dict[str, Any]]) -> None:
    text = html.unescape(case[0].read_text("utf-8"))
    head = load_head(TOY_HEAD)
    assert head.held_out is not None
    rates = head.held_out.rates(0.0)
    for fact in (
        head.feature_keys[0]["weights"],
        str(head.meta["saved"]),
        f"of {rates.n_real} reals",
        f"{100 * rates.fpr:.0f} % (95 % interval",
        "made with a toy head",
        "cyclegan",
    ):
        assert fact in text, fact


def test_strings_are_escaped_and_nothing_is_loaded(case: tuple[Path, dict[str, Any]]) -> None:
    text = case[0].read_text("utf-8")
    assert "<script" not in text
    assert "<b>name" not in text
    assert html.escape(EVIL) in text
    assert "x" * 201 not in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)


def test_a_head_without_held_out_data_says_so(photos: Path, tmp_path: Path) -> None:
    old = replace(load_head(TOY_HEAD), held_out=None, calibration=None, meta={})
    detector = Detector(old.save(tmp_path / "old.safetensors"))
    page = write_case(
        detector(photos / "photo0.jpg"),
        tmp_path / "case.html",
        heads=detector.heads,
        error_rates=detector.error_rates(),
    )
    text = page.read_text("utf-8")
    assert "are not known" in text
    assert "not calibrated" in text
    assert "not recorded" in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "below 0.001"), (1.0, "above 0.999"), (0.5, "0.500")]
)
def test_no_probability_reads_as_certainty(value: float, text: str) -> None:
    assert format_probability(value) == text


def test_the_toy_is_labelled_and_never_a_default(
    featcache: Callable[..., Any], photos: Path
) -> None:
    ran = featcache("score", photos / "photo0.jpg")
    assert ran.code == 2
    assert "--head toy" in ran.err
    ran = featcache("score", photos / "photo0.jpg", "--head", "toy", "-q")
    assert "TOY HEAD" in ran.out
    ran = featcache("score", photos / "photo0.jpg", "--head", "toy", "--json", "-q")
    assert ran.json["heads"]["toy"]["toy"].startswith("a toy")


def chromium(*arguments: str, profile: Path) -> str:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command = ["chromium", *quiet, f"--user-data-dir={profile}", *arguments]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)
    return ran.stdout


@pytest.mark.browser
def test_a_photograph_prints_on_two_pages_at_most(
    case: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    pdf = tmp_path / "case.pdf"
    chromium(f"--print-to-pdf={pdf}", case[0].as_uri(), profile=tmp_path / "profile")
    n_pages = len(re.findall(rb"/Type /Page\b", pdf.read_bytes()))
    n_photos = len(case[1]["images"])
    assert n_photos < n_pages <= 2 * n_photos + 2


@pytest.mark.browser
def test_axe_finds_nothing(case: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    axe = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not installed (npm install --prefix tests axe-core)")
    text = case[0].read_text("utf-8").replace("default-src 'none'", "script-src 'unsafe-inline'")
    act = """addEventListener("load", async () => {
      const found = await axe.run({ resultTypes: ["violations"] });
      const pre = document.createElement("pre");
      pre.id = "findings";
      pre.textContent = JSON.stringify(found.violations.map((v) => [v.id, v.nodes[0].html]));
      document.body.append(pre);
    });"""
    script = f"<script>{axe.read_text('utf-8')}</script><script>{act}</script></body>"
    copy = tmp_path / "axe.html"
    copy.write_text(text.replace("</body>", script), "utf-8")
    dumped = chromium(
        "--virtual-time-budget=20000", "--dump-dom", copy.as_uri(), profile=tmp_path / "profile"
    )
    findings = re.search(r'<pre id="findings">(.*?)</pre>', dumped, re.DOTALL)
    assert findings
    assert json.loads(html.unescape(findings[1])) == []
