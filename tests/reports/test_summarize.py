import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from featcache.reports import summarize
from featcache.reports.formatting import (
    Estimate,
    escape_controls,
    format_list,
    format_points,
    shorten,
)
from featcache.reports.headline import probe_headline
from featcache.results import EvalResult, GeneratorResult, Scores, TrainResult


def outcome(ap, group="GAN", n_real=4, n_fake=4):
    ci = (max(ap - 0.02, 0), min(ap + 0.01, 1))
    return GeneratorResult(
        group=group, ap=ap, auroc=ap, acc=ap, r_acc=ap, f_acc=ap,
        n_real=n_real, n_fake=n_fake, n_sources=4,
        ap_ci=ci, auroc_ci=ci, acc_ci=ci, r_acc_ci=ci, f_acc_ci=ci,
    )  # fmt: skip


def evaluated(generators, controls=None, train=("cyclegan",)):
    return EvalResult(
        features=["lite"],
        n_features=8,
        train=TrainResult(generators=[*train], datasets=["d"], n_real=9, n_fake=9, n_sources=9),
        C=1.0,
        threshold=0.5,
        mAP=0.7,
        mean_acc=0.6,
        mAP_ci=(0.65, 0.75),
        mean_acc_ci=(0.55, 0.65),
        groups={},
        generators={name: outcome(ap) for name, ap in generators.items()},
        controls={name: outcome(ap, "control") for name, ap in (controls or {}).items()},
    )


def scored(*rows):
    """Rows of (generator, sample_id, label, score)."""
    generator, sample, label, score = (list(column) for column in zip(*rows, strict=True))
    text = np.array(sample, dtype=object)
    return Scores(
        generator=np.array(generator, dtype=object),
        split=np.array(["test"] * len(rows), dtype=object),
        path=np.array([f"{name}.png" for name in sample], dtype=object),
        sample_id=text,
        source=text,
        label=np.array(label, dtype=np.int64),
        score=np.array(score, dtype=np.float64),
        logit=np.zeros(len(rows)),
    )


NOTHING = scored(("cyclegan", "x", 0, 0.0))


def test_rows_trained_first_then_by_ap_and_controls_apart():
    result = evaluated(
        {"low": 0.5, "high": 0.9, "undefined": math.nan, "cyclegan": 0.6}, {"control-jpeg": 0.99}
    )
    summary = summarize(result, NOTHING)
    assert [row.name for row in summary.rows] == ["cyclegan", "high", "low", "undefined"]
    assert [row.kind for row in summary.rows] == ["trained", "unseen", "unseen", "unseen"]
    assert [(row.name, row.kind) for row in summary.controls] == [("control-jpeg", "control")]


@pytest.mark.parametrize(
    ("generators", "controls", "sentence"),
    [
        (
            {"cyclegan": 0.99, "realesrgan": 0.52, "adm": 0.90},
            {"control-bicubic": 0.6},
            "reaches AP 0.99 [0.97, 1.00] on cyclegan and 0.71 on average over 2 unseen generators "
            + "(lowest: realesrgan, 0.52); on the control bicubic, which no generator made, 0.60.",
        ),
        (
            {"adm": 0.9},
            {"control-a": 0.6, "control-b": 0.7},
            "reaches AP 0.90 [0.88, 0.91] on the unseen adm; "
            + "on the controls, which no generator made, 0.70 (b) and 0.60 (a).",
        ),
        (
            {"cyclegan": 0.9},
            {f"control-{name}": ap for name, ap in zip("abcd", (0.5, 0.6, 0.7, 0.8), strict=True)},
            "reaches AP 0.90 [0.88, 0.91] on cyclegan; "
            + "on 4 controls, which no generator made, 0.50 to 0.80.",
        ),
        ({}, {}, "was tested on no generator."),
    ],
)
def test_finding(generators, controls, sentence):
    opening = "Trained on cyclegan, the probe on lite"
    assert probe_headline(evaluated(generators, controls)) == f"{opening} {sentence}"


def test_finding_over_several_training_generators():
    result = evaluated({"a": 0.8, "b": 0.6}, train=("a", "b"))
    assert (
        probe_headline(result)
        == "Trained on a and b, the probe on lite reaches AP 0.70 on average over these 2"
        " generators."
    )


def test_histograms_are_shares_of_each_class():
    scores = scored(
        ("a", "r1", 0, 0.0), ("a", "r2", 0, 0.01), ("a", "f", 1, 1.0), ("b", "x", 1, 0.5)
    )
    (panel,) = summarize(evaluated({"a": 0.9}), scores).histograms
    assert (panel.n_real, panel.n_fake) == (2, 1)
    assert (panel.real[0], panel.fake[-1]) == (1.0, 1.0)
    assert sum(panel.real) == pytest.approx(1)
    assert 0.5 in panel.edges


def test_mistakes_are_on_the_wrong_side_worst_first_at_most_four_each_once():
    fakes = [("a", f"f{i}", 1, 0.05 * i) for i in range(8)]
    rows = [*fakes, fakes[0], ("a", "edge", 1, 0.5), ("a", "ok", 1, 0.9), ("a", "r", 0, 0.5)]
    (mistakes,) = summarize(evaluated({"a": 0.9}), scored(*rows)).mistakes
    assert [sample.sample_id for sample in mistakes.samples] == ["f0", "f1", "f2", "f3"]


def test_real_of_several_generators_is_shown_once():
    rows = [(name, "r", 0, 0.8) for name in ("a", "b", "control-x")]
    result = evaluated({"a": 0.9, "b": 0.8}, {"control-x": 0.5})
    (mistakes,) = summarize(result, scored(*rows)).mistakes
    assert (mistakes.name, mistakes.samples[0].also) == ("a", ("b", "control-x"))
    assert mistakes.samples[0].kind == "real, called fake"


def test_mistake_on_a_control_is_to_be_called_fake():
    rows = [("control-x", "high", 1, 0.8), ("control-x", "low", 1, 0.2)]
    (mistakes,) = summarize(evaluated({}, {"control-x": 0.5}), scored(*rows)).mistakes
    assert [(m.sample_id, m.label) for m in mistakes.samples] == [("high", "processed photograph")]


def test_chance_is_the_share_of_fakes():
    result = evaluated({"a": 0.9})
    result = replace(result, generators={"a": outcome(0.9, n_real=3, n_fake=1)})
    assert summarize(result, NOTHING).rows[0].chance == 0.25


def test_words():
    assert format_points(0.97349) == "97.3"
    assert Estimate(math.nan, math.nan, math.nan).full == "n/a"
    assert Estimate(0.973, 0.941, 0.996).full == "97.3 [94.1, 99.6]"
    assert escape_controls("caf\udce9\n\x1b[31m é") == "caf\\udce9\\n\\x1b[31m é"
    assert format_list(["a", "b", "c"]) == "a, b and c"
    assert len(shorten("x" * 50, 24)) == 24


def test_import_needs_no_matplotlib_and_no_torch():
    code = (
        "import sys, featcache.reports as r, featcache.reports.figures.bars;bad = {'matplotlib',"
        " 'jinja2', 'torch', 'h5py'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
