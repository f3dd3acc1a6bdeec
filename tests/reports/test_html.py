import html
import importlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from featcache.errors import MissingExtraError
from featcache.reports import summarize, write_report
from featcache.results import EvalResult, GeneratorResult, GroupResult, Scores, TrainResult

pytest.importorskip("jinja2", reason="reports need featcache[viz]")
pytest.importorskip("matplotlib", reason="reports need featcache[viz]")


def outcome(group, ap):
    ci = (ap - 0.031, ap + 0.008)
    return GeneratorResult(
        group=group,
        ap=ap,
        auroc=ap + 0.0011,
        acc=ap - 0.0522,
        r_acc=ap - 0.0633,
        f_acc=ap - 0.0444,
        n_real=2,
        n_fake=2,
        n_sources=2,
        ap_ci=ci,
        auroc_ci=ci,
        acc_ci=ci,
        r_acc_ci=ci,
        f_acc_ci=ci,
    )


def evaluated(generators, controls=()):
    return EvalResult(
        features=["lite", "clip"],
        n_features=2048,
        train=TrainResult(generators=["cyclegan"], datasets=["d"], n_real=9, n_fake=8, n_sources=7),
        C=0.001,
        threshold=0.5,
        mAP=0.7534,
        mean_acc=0.7012,
        mAP_ci=(0.72, 0.78),
        mean_acc_ci=(0.67, 0.73),
        groups={
            name: GroupResult(mAP=0.7, mean_acc=0.6, mean_auroc=0.5, generators=[*generators])
            for name in ("GAN", "diffusion")
        },
        generators={name: outcome("GAN", 0.9 - 0.1 * i) for i, name in enumerate(generators)},
        controls={name: outcome("control", 0.55) for name in controls},
        keys=[{"backbone": "lite", "weights": "0123456789abcdef" * 4, "name": "caf\udce9"}],
        notes=["All fakes are <PNG> files."],
        versions={"featcache": "0.1.0"},
    )


def scored(names, path):
    """One real and one fake per test set, both wrong."""
    rows = [(name, label, 0.9 - 0.8 * label) for name in names for label in (0, 1)]
    ids = np.array([f"{name}{label}" for name, label, _ in rows], dtype=object)
    return Scores(
        generator=np.array([name for name, _, _ in rows], dtype=object),
        split=np.array(["test"] * len(rows), dtype=object),
        path=np.array([str(path)] * len(rows), dtype=object),
        sample_id=ids,
        source=ids,
        label=np.array([label for _, label, _ in rows], dtype=np.int64),
        score=np.array([score for _, _, score in rows], dtype=np.float64),
        logit=np.zeros(len(rows)),
    )


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    gradient = np.linspace(0, 255, 320 * 200 * 3).astype(np.uint8).reshape(200, 320, 3)
    Image.fromarray(gradient).save(path)
    return path


@pytest.fixture
def page(tmp_path, picture):
    """A function that writes a report and returns its text."""

    def write(generators=("cyclegan", "adm"), controls=("control-jpeg",), path=picture, **message):
        message = {"title": "A probe", "command": "featcache probe", **message}
        scores = scored([*generators, *controls], path)
        report = write_report(
            evaluated(generators, controls), scores, tmp_path / "report.html", **message
        )
        return report.read_text("utf-8")

    return write


class References(HTMLParser):
    """Collects all addresses, ids and opened tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.ids, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}:
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)


def test_page_asks_the_network_for_nothing(page):
    text = page()
    seen = References(text)
    assert {urlsplit(a).scheme for a in seen.addresses} <= {"", "data"}
    assert all(a.startswith(("#", "data:")) for a in seen.addresses)
    assert all(a.startswith("#") for a in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"' <]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not {"iframe", "object", "embed"} & set(seen.tags)
    assert seen.tags.count("script") == 1


def test_ids_are_unique_and_all_references_lead_to_one(page):
    text = page()
    seen = References(text)
    assert len(seen.ids) == len(set(seen.ids))
    requested = {a[1:] for a in seen.addresses if a.startswith("#")}
    requested |= set(re.findall(r"url\(#([^)]*)\)", text))
    requested |= set(re.findall(r'aria-labelledby="([^"]*)"', text))
    assert requested <= set(seen.ids)


def test_every_number_of_the_table_is_the_one_of_the_result(page):
    text = page()
    result = evaluated(("cyclegan", "adm"), ("control-jpeg",))
    for name, row in {**result.generators, **result.controls}.items():
        line = re.search(rf'<th scope="row" class="name">{name}\b.*?</tr>', text, re.DOTALL)
        assert line
        cells = re.findall(r'class="(?:value|interval)">([^<]*)<', line[0])
        expected = []
        for metric in ("ap", "auroc", "acc", "r_acc", "f_acc"):
            low, high = getattr(row, f"{metric}_ci")
            expected += [
                f"{100 * getattr(row, metric):.1f}",
                f"[{100 * low:.1f}, {100 * high:.1f}]",
            ]
        assert cells[2:] == expected
    assert "75.3</span>" in text
    assert "70.1</span>" in text


def test_names_and_notes_are_shown_as_text(page):
    text = page(
        generators=("<script>alert(1)</script>", "a&b$c$", "\"'>"),
        title="<b>title",
        command="probe '<x>'",
    )
    assert References(text).tags.count("script") == 1
    assert "<b>" not in text
    for shown in (
        "&lt;script&gt;alert(1)",
        "a&amp;b$c$",
        "&lt;b&gt;title",
        "&lt;PNG&gt;",
        "&lt;x&gt;",
    ):
        assert shown in text


def test_names_that_are_not_utf8_are_shown_by_their_escapes(page, picture, tmp_path):
    odd = os.fsencode(tmp_path) + b"/caf\xe9\n.png"
    shutil.copyfile(picture, odd)
    text = page(
        generators=("gen\udcff",), path=os.fsdecode(odd), title="t\udce9", command="c\udce9"
    )
    assert "data:image/jpeg" in text
    for shown in ("caf\\udce9\\n.png", "gen\\udcff", "t\\udce9", "c\\udce9"):
        assert shown in text


def test_names_in_other_scripts_are_kept(page):
    assert page(generators=("生成器", "ünï")).count("生成器") >= 3


def test_same_result_same_bytes(page):
    assert page() == page()


def test_user_settings_of_matplotlib_do_not_matter_and_stay(page):
    import matplotlib

    before = page()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert page() == before
        assert matplotlib.rcParams["font.size"] == 30


def test_text_of_figures_is_text_in_the_font_and_colour_of_the_page(page):
    charts = re.findall(r"<svg.*?</svg>", page(), re.DOTALL)
    assert len(charts) == 1 + 3 * 3 + 1
    assert ">cyclegan</text>" in charts[0]
    for chart in charts:
        assert 'role="img"' in chart
        assert "currentColor" in chart
        assert not re.search(r"#000000|#010203|DejaVu|<style", chart)


def test_thumbnails_are_small_and_have_words(page):
    text = page()
    images = re.findall(
        r'<img src="data:image/jpeg;base64,[^"]*" width="160" height="100" alt="([^"]*)"', text
    )
    assert images[:2] == [
        "fake of cyclegan, probability of fake 0.100",
        "real of cyclegan, probability of fake 0.900",
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.png", None, "No such file or directory"),
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"no picture", "not an image"),
    ],
)
def test_picture_that_cannot_be_read_is_shown_as_its_reason(page, tmp_path, name, content, reason):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    text = page(path=tmp_path / name)
    assert f"No picture: {reason}" in text
    assert "<img" not in text


def test_run_card_has_the_whole_key_and_the_command(page):
    text = html.unescape(page())
    for fact in ("lite + clip (2,048 numbers per image)", "9 real and 8 fake", "featcache probe"):
        assert fact in text
    key = json.loads(re.findall(r"<pre>(\{.*?\})</pre>", text, re.DOTALL)[0])
    assert key["weights"] == "0123456789abcdef" * 4


def test_report_without_generators_controls_or_mistakes(tmp_path):
    nobody = scored(["nobody"], "x.png")
    text = write_report(evaluated(()), nobody, tmp_path / "r.html", title="t").read_text("utf-8")
    assert "No sample is on the wrong side" in text
    assert "Controls" not in text


def test_undefined_metrics_are_said_so(tmp_path, picture):
    result = evaluated(("adm",))
    nan = (float("nan"),) * 2
    row = replace(result.generators["adm"], r_acc=nan[0], r_acc_ci=nan, ap=nan[0], ap_ci=nan)
    result = replace(result, generators={"adm": row})
    text = write_report(result, scored(["adm"], picture), tmp_path / "r.html", title="t")
    assert text.read_text("utf-8").count('<span class="value">n/a</span>') == 2


def test_failed_writing_leaves_the_old_file_and_nothing_else(page, tmp_path, monkeypatch):
    page()
    before = {path.name for path in tmp_path.iterdir()}
    old = (tmp_path / "report.html").read_bytes()

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk is full"):
        page(title="other")
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "report.html").read_bytes() == old


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_extra_says_what_installs_it(page, monkeypatch, package):
    def refuse(name):
        if name == package:
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr("featcache.reports.formatting.import_module", refuse)
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'featcache\[viz\]'"):
        page()


def browse(path, profile, *flags):
    command = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
    quiet = "--disable-background-networking --disable-component-update --disable-sync"
    log = "--enable-logging=stderr --v=0 --dump-dom"
    arguments = [
        *command.split(),
        *quiet.split(),
        f"--user-data-dir={profile}",
        *flags,
        *log.split(),
    ]
    return subprocess.run(
        ["chromium", *arguments, path.as_uri()],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.browser
def test_browser_shows_the_table_without_a_complaint(page, tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    page(generators=("cyclegan", "adm", "<i>"))
    run = browse(Path(tmp_path / "report.html"), tmp_path / "profile")
    summary = summarize(
        evaluated(("cyclegan", "adm", "<i>"), ("control-jpeg",)), scored(["x"], "x")
    )
    assert run.returncode == 0, run.stderr
    assert "CONSOLE" not in run.stderr
    assert run.stdout.count('<th scope="row">') == 2 * (len(summary.rows) + len(summary.controls))
    assert html.escape(summary.finding, quote=False) in run.stdout
