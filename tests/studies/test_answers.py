"""The first sentence of a study's report: what it says, from results made by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from featcache.results import EvalResult, GeneratorResult, Mean, TrainResult, ViewResult
from featcache.studies.answers import ANSWERS, format_answer
from featcache.studies.compare import detection_boundary, references
from featcache.studies.plan import Run
from featcache.studies.result import BoundaryPoint, Difference, MixtureAP, RunResult, StudyResult
from featcache.studies.schema import Question
from featcache.studies.tables import study_part

CI = (0.6, 0.9)


def generator(ap: float, ci: tuple[float, float] = CI, group: str = "GAN") -> GeneratorResult:
    values: dict[str, Any] = dict.fromkeys(("ap", "auroc", "acc", "r_acc", "f_acc"), ap)
    intervals: dict[str, Any] = {f"{name}_ci": ci for name in values}
    return GeneratorResult(group=group, n_real=50, n_fake=50, n_sources=100, **values, **intervals)


def run(
    *features: str,
    mAP: float = 0.75,
    head: str = "logistic",
    generators: dict[str, float] | None = None,
) -> RunResult:
    result = EvalResult(
        features=list(features), n_features=8, C=1.0, threshold=0.5,
        train=TrainResult(generators=["progan"], datasets=["d"], n_real=9, n_fake=9, n_sources=9),
        mAP=mAP, mean_acc=0.7, mAP_ci=CI, mean_acc_ci=CI, groups={}, head=head,
        generators={name: generator(ap) for name, ap in (generators or {"biggan": mAP}).items()},
        means={"auroc": Mean(value=mAP, ci=CI)},
    )  # fmt: skip
    return RunResult(run=Run(features=features, train=("progan",), head=head), result=result)


def study(*runs: RunResult, **parts: Any) -> StudyResult:
    return StudyResult(name="s", title="S", asks="What?", runs=list(runs), **parts)


def difference(name: str, value: float, over: str = "all", p: float = 0.01) -> Difference:
    return Difference(
        run=name, baseline="clip", over=over, metric="mAP", value=value,
        ci=(value - 0.02, value + 0.02), p=p, p_holm=p,
    )  # fmt: skip


def test_every_kind_of_question_has_an_answer() -> None:
    assert set(ANSWERS) == set(Question.__args__)  # type: ignore[attr-defined]


def test_the_paper_sets_its_own_numbers_beside() -> None:
    runs = [run("clip"), run("synclr"), run("clip", "synclr")]
    differences = [
        difference("synclr", 0.08, "GAN, unseen"),
        difference("clip + synclr", 0.05),
        difference("synclr", 0.02),
    ]
    outcome = study(*runs, differences=differences)
    outcome = dataclasses.replace(
        outcome, references=references(["dfwf-synclr-gan", "dfwf-ensemble"], runs, differences)
    )
    assert (
        format_answer("paper", outcome)
        == "Against clip, in points of mAP: synclr +8.0 [+6.0, +10.0] on unseen GANs (the paper:"
        " +10.3); clip + synclr +5.0 [+3.0, +7.0] over all (the paper: +7.5)."
    )


def test_chance_is_said() -> None:
    outcome = study(
        run("clip"), run("resnet50"), differences=[difference("resnet50", -0.01, p=0.4)]
    )
    text = format_answer("architecture", outcome)
    assert (
        text == "Against clip (transformer, mAP 0.75 [0.60, 0.90]): resnet50 (convolutional) "
        "-1.0 [-3.0, +1.0], not significant."
    )


def test_random_weights_are_like_nobodys() -> None:
    one = run("clip-vit-l14")
    random = dataclasses.replace(
        one, result=dataclasses.replace(one.result, features=["clip-vit-l14#random0"])
    )
    assert references(["univfd-lc-ap"], [one], [])[0].comparisons[0].name == "biggan"
    assert references(["univfd-lc-ap"], [random], []) == []


def test_robustness_names_the_worst_view() -> None:
    one = run("clip", mAP=0.8)
    views = {
        name: ViewResult(view=name, mAP=mAP, mean_acc=0.5, mAP_ci=CI, mean_acc_ci=CI, generators={})
        for name, mAP in (("jpeg:50", 0.6), ("blur:1", 0.7))
    }
    one = dataclasses.replace(one, result=dataclasses.replace(one.result, views=views))
    assert "clip falls from 0.80 to 0.60 (jpeg:50, -20.0 points)" in format_answer(
        "robustness", study(one)
    )


def test_mixture_states_every_share() -> None:
    blind, seeing = run("clip", head="oneclass", mAP=0.6), run("clip", mAP=0.9)
    shares = [MixtureAP(run=blind.name, share=s, ap=a) for s, a in ((0.1, 0.2), (0.5, 0.6))]
    text = format_answer("mixture", study(blind, seeing, mixtures=shares))
    assert (
        "clip reaches AP 0.20 at 10% fakes, 0.60 at 50% fakes (AUROC 0.60, with reals 0.90)" in text
    )


def test_boundary_is_where_it_is_seen_at_every_greater_strength() -> None:
    def point(artefact: str, strength: float, low: float) -> BoundaryPoint:
        return BoundaryPoint(
            run="clip", artefact=artefact, strength=strength, ap=0.7, ci=(low, 0.9), chance=0.5
        )

    points = [
        point("noise", 0.1, 0.6), point("noise", 0.25, 0.4), point("noise", 0.5, 0.6),
        point("noise", 1.0, 0.7), point("peaks", 1.0, 0.4),
    ]  # fmt: skip
    text = format_answer("boundary", study(run("clip"), boundary=points))
    assert "clip sees noise from 0.5, never peaks" in text


def test_boundary_points_come_from_the_generators_names() -> None:
    one = run("clip", generators={"noise@0.25": 0.7, "progan": 0.9})
    assert [(p.artefact, p.strength, p.seen) for p in detection_boundary([one])] == [
        ("noise", 0.25, True)
    ]


@pytest.mark.parametrize(("best", "message"), [(0.9, "picked by looking"), (0.7, "No layer beats")])
def test_layers_admit_how_the_best_was_found(best: float, message: str) -> None:
    outcome = study(run("clip"), run("clip@layer6", mAP=best))
    assert message in format_answer("layers", outcome)


def test_tables_hold_what_was_found() -> None:
    outcome = study(
        run("clip"),
        run("synclr"),
        differences=[difference("synclr", 0.08), difference("synclr", 0.01, "unseen", p=0.5)],
        boundary=[
            BoundaryPoint(run="clip", artefact="noise", strength=0.5, ap=0.7, ci=CI, chance=0.5)
        ],
        mixtures=[MixtureAP(run="clip", share=0.1, ap=0.2)],
    )
    part = study_part(outcome)
    assert [table.name for table in part.tables] == ["runs", "differences", "mixtures", "boundary"]
    bold = [row.bold for row in part.tables[1].rows]
    assert bold == [frozenset({"value"}), frozenset()]
