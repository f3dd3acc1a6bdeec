"""Every table of the command line at four widths, made of fixed results.

`tests/golden/tables/COMMAND.WIDTH.txt` holds what is printed. After a wanted change of a table:
`WRITE_GOLDEN=1 python -m pytest tests/cli/test_golden_tables.py`, then read the diff.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from featcache.audit.result import AuditResult, Duplicates, GeneratorAudit
from featcache.cli import _output, ablate, backbones, cache, datasets, doctor, probe, score, study
from featcache.cli import transfer as transfer_command
from featcache.detect import Prediction
from featcache.probes.calibration import ErrorRates
from featcache.reports.report import efficiency_part, transfer_part
from featcache.reports.tables import comparison as comparison_tables
from featcache.reports.terminal import terminal_table
from featcache.results import (
    AblationResult,
    AblationRow,
    Comparison,
    Contribution,
    CPoint,
    Diagnosis,
    EfficiencyPoint,
    EfficiencyResult,
    EvalResult,
    GeneratorResult,
    GroupResult,
    Mean,
    RunComparison,
    Selection,
    TrainResult,
    TransferCell,
    TransferResult,
    ViewResult,
)
from featcache.studies.result import BoundaryPoint, Difference, MixtureAP, RunResult, StudyResult
from featcache.studies.tables import study_part
from featcache.text_tables import _chunks

GOLDEN = Path(__file__).parents[1] / "golden" / "tables"
WIDTHS = (60, 80, 100, 160)

NAMES = [
    "progan", "stylegan", "stylegan2", "biggan", "cyclegan", "stargan", "gaugan", "deepfake",
    "guided_diffusion_imagenet256", "ldm_200_steps", "ldm_200_with_classifier_free_guidance",
    "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle-mini-mega-full-fp16",
    "stable-diffusion-xl-1.0-refiner", "midjourney_v6.1_raw_style", "flux.1-dev-lora-photoreal",
]  # fmt: skip
FAMILY = {name: "GAN" if i < 8 else "diffusion" for i, name in enumerate(NAMES)}
TRAIN = TrainResult(
    generators=["progan"], datasets=["forensynths"], n_real=360_000, n_fake=360_000, n_sources=9_001
)
ORDER = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]


def generator(i: int) -> GeneratorResult:
    ap = 1.0 - 0.0237 * i
    acc = 0.987 - 0.0219 * i
    return GeneratorResult(
        group=FAMILY[NAMES[i]],
        ap=ap,
        auroc=ap - 0.0031,
        acc=acc,
        r_acc=acc + 0.0071,
        f_acc=acc - 0.0071,
        n_real=4000 + 37 * i,
        n_fake=4000,
        n_sources=3500,
        ap_ci=(ap - 0.0213, min(ap + 0.0119, 1.0)),
        auroc_ci=(ap - 0.0251, min(ap + 0.0089, 1.0)),
        acc_ci=(acc - 0.0311, acc + 0.0111),
        r_acc_ci=(acc - 0.0211, acc + 0.0121),
        f_acc_ci=(acc - 0.0411, acc + 0.0091),
    )


GENERATORS = {name: generator(i) for i, name in enumerate(NAMES)}


def family(name: str) -> GroupResult:
    value = 0.9123 if name == "GAN" else 0.6789
    means = {"ap": Mean(value=value, ci=(value - 0.011, value + 0.012))}
    members = [key for key in NAMES if FAMILY[key] == name]
    return GroupResult(
        mAP=value, mean_acc=value - 0.1, mean_auroc=value - 0.02, generators=members, means=means
    )


RESULT = EvalResult(
    features=["clip-vit-b16", "synclr-vit-b16"],
    n_features=1280,
    train=TRAIN,
    C=1e-4,
    threshold=0.5,
    mAP=0.7867,
    mean_acc=0.7012,
    mAP_ci=(0.7711, 0.8022),
    mean_acc_ci=(0.6911, 0.7122),
    groups={"GAN": family("GAN"), "diffusion": family("diffusion")},
    generators=GENERATORS,
    controls={"control-jpeg-95": replace(generator(16), group="control")},
    keys=[
        {"weights": "blake2b:5806e77cd80f8b59890b7e10", "preprocessing": {"preset": "univfd"}},
        {"weights": "blake2b:0f2a64c1d4a2b9937a51cc3e", "preprocessing": {"preset": "univfd"}},
    ],
    selection=Selection(
        split_by="source",
        n_folds=5,
        metric="auroc",
        path=[CPoint(C=C, score=0.9, standard_error=0.01) for C in ORDER],
        C=1e-4,
        threshold=0.5,
    ),
    at_priors={
        share: {key: Mean(value=value, ci=(value - 0.02, value + 0.02)) for key in [*NAMES, "mean"]}
        for share, value in (("0.01", 0.3123), ("0.1", 0.5456))
    },
    views={
        view: ViewResult(
            view=view,
            mAP=0.6543,
            mean_acc=0.6012,
            mAP_ci=(0.6411, 0.6678),
            mean_acc_ci=(0.5911, 0.6123),
            generators=GENERATORS,
        )
        for view in ("jpeg:70", "blur:1.5,jpeg:50")
    },
    diagnosis=[
        Diagnosis(code="ceiling", sentence="All generators of the training set are at AP 1.0.")
    ],
    notes=["All reals are JPEG files and all fakes are PNG files: the probe may read the format."],
)


def compared(i: int) -> Comparison:
    difference = 0.0312 - 0.0037 * i
    ci = (difference - 0.0118, difference + 0.0119)
    return Comparison(
        other=["synclr-vit-b16"],
        metric="ap",
        difference=difference,
        ci=ci,
        p=0.0004 * 3**i,
        p_holm=0.0011 * 3**i,
    )


ABLATION = AblationResult(
    features=["clip-vit-b16", "synclr-vit-b16", "dinov2-vit-b14-reg4"],
    rows=[
        AblationRow(
            features=features,
            n_features=768 * len(features),
            C=C,
            train=["progan"],
            mAP=0.93 - 0.031 * i,
            mean_acc=0.85 - 0.027 * i,
            mAP_ci=(0.91 - 0.031 * i, 0.95 - 0.031 * i),
            mean_acc_ci=(0.84 - 0.027 * i, 0.87 - 0.027 * i),
            means={"auroc": Mean(value=0.94 - 0.03 * i, ci=(0.92 - 0.03 * i, 0.95 - 0.03 * i))},
            generators={name: {"ap": GENERATORS[name].ap} for name in NAMES},
            vs_best_single=compared(i) if len(features) > 1 else None,
        )
        for i, (features, C) in enumerate(
            (
                (["clip-vit-b16", "synclr-vit-b16", "dinov2-vit-b14-reg4"], 1e-6),
                (["clip-vit-b16", "synclr-vit-b16"], 1e-4),
                (["clip-vit-b16"], 0.0316),
                (["synclr-vit-b16", "dinov2-vit-b14-reg4"], 1000.0),
                (["dinov2-vit-b14-reg4"], 1e6),
            )
        )
    ],
    sort="mAP",
    best_single=["clip-vit-b16"],
    baseline=["clip-vit-b16"],
    train=TRAIN,
    contributions=[
        Contribution(
            feature="clip-vit-b16", shapley=0.412, ci=(0.401, 0.424), alone=0.868, last=0.021
        ),
        Contribution(
            feature="dinov2-vit-b14-reg4",
            shapley=-0.012,
            ci=(-0.021, -0.004),
            alone=0.806,
            last=-0.001,
        ),
    ],
)

TRANSFER = TransferResult(
    features=["clip-vit-b16"],
    C=1.0,
    train=TRAIN,
    each={
        trained: {
            tested: TransferCell(
                ap=ap,
                auroc=ap,
                acc=ap,
                ap_ci=(ap - 0.0123, ap + 0.0119),
                auroc_ci=(ap, ap),
                acc_ci=(ap, ap),
            )
            for j, tested in enumerate(NAMES)
            for ap in [0.9871 - 0.0213 * abs(i - j)]
        }
        for i, trained in enumerate(NAMES)
    },
    unseen={"each": {n: Mean(value=0.81 - 0.01 * i, ci=(0.79, 0.83)) for i, n in enumerate(NAMES)}},
)

EFFICIENCY = EfficiencyResult(
    features=["clip-vit-b16"],
    C=1e-6,
    train=TRAIN,
    points=[
        EfficiencyPoint(
            n=n,
            mAP=[0.71, 0.74, 0.78],
            mean=0.7433,
            deviation=0.0287,
            ci=(0.7211, 0.7655),
            whole=n > 9999,
        )
        for n in (10, 100, 1000, 360_000)
    ],
)

RUNS = RunComparison(
    metric="ap",
    other=["synclr"],
    generators={name: compared(i) for i, name in enumerate(NAMES[:6])},
    groups={"GAN": compared(1), "diffusion": compared(3)},
    groups_unseen={},
    overall=compared(0),
    unseen=compared(2),
    n_resamples=2000,
)

COUNTS = [
    {
        "dataset": dataset, "generator": name, "group": FAMILY[name], "split": split,
        "n_real": 4000 + i, "n_fake": 4000, "n_bad": 3 * (i == 4), "n_sources": 9,
        "n_categories": 1, "formats": {"PNG": 7991, "JPEG": 12}, "sizes": {"256x256": 7000,
        "1024x1024": 900, "512x512": 103},
    }
    for dataset in ("UniversalFakeDetect-test", "ForenSynths")
    for i, name in enumerate(NAMES)
    for split in (("train", "test") if name == "progan" else ("test",))
]  # fmt: skip
MANY = [
    {
        **COUNTS[3], "dataset": "CommunityForensics", "generator": f"model-{i:04d}",
        "group": "GAN" if i % 3 == 0 else "diffusion", "n_fake": 1000 + i,
    }
    for i in range(412)
]  # fmt: skip

AUDIT = AuditResult(
    view="clean",
    generators={
        name: GeneratorAudit(
            n_real=4000,
            n_fake=4000,
            auroc=1.0 - 0.04 * i,
            auroc_ci=(0.9, 1.0),
            feature="JPEG quality" if i < 3 else "",
            real="JPEG at quality 96 (99 %)",
            fake="PNG (100 %)",
            verdict="shortcut" if i < 3 else "clean",
        )
        for i, name in enumerate(NAMES)
    },
    duplicates=Duplicates(),
    balance=[],
    corrupt=[],
    remedy="jpeg:90",
    sentences=["The format tells reals from fakes for 3 of 19 generators."],
    n_images=152_000,
)

FEATURES: list[Any] = [
    SimpleNamespace(
        key=SimpleNamespace(
            name=name, settings="univfd, fp32, clean, blake2b:5806e77c", fingerprint="a1b2c3d4" * 8
        ),
        n_samples=2_712_004,
        n_rejected=17,
        n_features=width,
        n_shards=2649,
        n_bytes=8_331_276_288,
    )
    for name, width in (
        ("clip-vit-b16", 512),
        ("timm:vit_so400m_patch14_siglip_384.v2_webli@layer23:cls+mean", 1152),
    )
]
USAGE = [
    ("features/clip-vit-b16-a1b2c3d4", 2649, 5_555_123_456),
    ("manifests", 7, 1_234_567_890),
    ("results", 4012, 98_765_432),
]
FINDINGS: list[Any] = [
    SimpleNamespace(state="ok", topic="python", detail="3.11.4, featcache 1.0.0", fix=""),
    SimpleNamespace(
        state="warning",
        topic="device",
        detail="no GPU: 8 cores, 31.2 GB of memory, about 12.5 images/s with clip-vit-b16",
        fix="Extraction works on a CPU; on a machine with a GPU install torch for CUDA.",
    ),
    SimpleNamespace(
        state="problem",
        topic="store",
        detail="/scratch/project_2004567/features: 1.4 GB free of 2,000.0 GB",
        fix="Free space, or name another place: --cache DIR",
    ),
]
BACKBONES = [
    {"name": "clip-vit-b16", "aliases": ["clip"], "n_features": 512, "weights": "missing",
     "summary": "CLIP ViT-B/16 by OpenAI: projected class token, QuickGELU, not normalised"},
    {"name": "dinov2-vit-b14-reg4", "aliases": [], "n_features": 768, "weights": "cache",
     "summary": "DINOv2 ViT-B/14 with 4 registers: class token after the last norm"},
]  # fmt: skip
PREDICTIONS = [
    Prediction(
        path="photos/IMG_20240517_104233.HEIC", head="head", score=0.0213, probability=0.0187,
        threshold=0.5, probability_threshold=0.4731, verdict="real", prediction="real",
        typicality=0.4321, coverage=0.0052, n_crops=1,
    ),
    Prediction(
        path="photos/album of the summer/2024-05-17 10.42.33 edited copy (2).png", head="head",
        score=0.9991, probability=0.9987, threshold=0.5, probability_threshold=0.4731,
        verdict="fake", prediction="inconclusive", typicality=0.0012, outside=True, coverage=1.0,
        reason="out of distribution: it does not resemble the images that the head was trained on",
    ),
    Prediction(path="photos/broken.jpg", head="head", problem="image file is truncated (12 bytes)"),
]  # fmt: skip
DETECTOR: Any = SimpleNamespace(
    heads={"head": SimpleNamespace(meta={})},
    crops="center",
    skipped=[],
    error_rates=lambda: {
        "head": ErrorRates(
            fpr=0.0123,
            fpr_ci=(0.0045, 0.0333),
            fnr=0.0456,
            fnr_ci=(0.0212, 0.0954),
            n_real=1234,
            n_fake=1198,
            n_sources_real=412,
            n_sources_fake=409,
        )
    },
)

STUDY = StudyResult(
    name="dfwf",
    title="Detect Fake with Fake",
    asks="Do synthetic features help?",
    runs=[
        RunResult(run=SimpleNamespace(name=name), result=replace(RESULT, C=C, n_features=width))  # type: ignore[arg-type]
        for name, C, width in (
            ("clip", 1e-6, 512),
            ("synclr", 1e6, 768),
            ("clip + synclr, 4 classes", 0.01, 1280),
        )
    ],
    answer="Yes.",
    differences=[
        Difference(
            run="clip + synclr, 4 classes",
            baseline="clip",
            over=over,
            metric="mAP",
            value=0.0312,
            ci=(0.011, 0.051),
            p=0.0004,
            p_holm=0.0011,
        )
        for over in ("all", "unseen GAN", "unseen diffusion")
    ],
    mixtures=[
        MixtureAP(
            run=run, share=share, ap=0.4321 + share / 2, ci=(0.41 + share / 2, 0.45 + share / 2)
        )
        for run in ("clip", "synclr")
        for share in (0.01, 0.05, 0.1, 0.25, 0.5)
    ],
    boundary=[
        BoundaryPoint(
            run=run,
            artefact=artefact,
            strength=strength,
            ap=0.5 + strength / 4,
            ci=(0.48, 0.78),
            chance=0.5,
        )
        for run in ("clip", "synclr")
        for artefact in ("checkerboard", "spectral-peak")
        for strength in (0.001, 0.01, 1.0)
    ],
)
FORECAST: dict[str, Any] = {
    "extract": [
        {"backbone": name, "view": view, "n_samples": 1_720_000, "n_cached": 20_000,
         "n_missing": 1_700_000, "n_bytes": 5_223_456_789}
        for name in ("clip-vit-b16", "timm:vit_so400m_patch14_siglip_384.v2_webli")
        for view in ("clean", "blur:1.5,jpeg:50")
    ],
    "n_forward": 6_800_000, "n_bytes": 20_893_827_156, "seconds": 86_461.0,
    "runs": ["clip", "synclr"], "finetune": [], "notes": [],
}  # fmt: skip

CASES: dict[str, Callable[[], object]] = {
    "probe": lambda: probe._show(RESULT),
    "ablate": lambda: ablate._print(ABLATION),
    "transfer": lambda: transfer_command._show(transfer_part(TRANSFER)),
    "efficiency": lambda: transfer_command._show(efficiency_part(EFFICIENCY)),
    "compare": lambda: _output.print_rich(
        terminal_table(
            comparison_tables.compared_table(RUNS, "ap", RESULT, RESULT, ("clip", "synclr"))
        )
    ),
    "datasets-scan": lambda: datasets._show(COUNTS, {}, False),
    "datasets-ls-many": lambda: datasets._show(MANY, {}, False),
    "datasets-audit": lambda: datasets._show_audit(AUDIT),
    "cache-ls": lambda: cache._show_features(FEATURES),
    "cache-du": lambda: cache._show_usage(USAGE),
    "doctor": lambda: doctor._show(FINDINGS),
    "backbones-ls": lambda: backbones._show(BACKBONES),
    "score": lambda: score._show(DETECTOR, PREDICTIONS, False),
    "run": lambda: _output.print_rich(*map(terminal_table, study_part(STUDY).tables)),
    "run-dry-run": lambda: study._show_forecast(FORECAST, False),
}


@pytest.fixture
def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], str]:
    """Return what a command prints at a width."""

    def call(name: str, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        CASES[name]()
        return "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())

    return call


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CASES)
def test_golden(printed: Callable[[str, int], str], name: str, width: int) -> None:
    text, file = printed(name, width), GOLDEN / f"{name}.{width}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


NUMBER = re.compile(r"(?<![\w.,/:-])[-+]?\d(?:[\d.,]*\d)?[.,]?(?:e[-+]\d+)?(?![\w])")
SENTENCE = re.compile(
    r"In\s\d+\sparts,\sas\sthe\sterminal\shas\s\d+\scolumns\."
    r"|(Left\sout,|Intervals\snot\sshown:)[\s\S]*?wider\s+terminal\."
)


def numbers(text: str) -> list[str]:
    """Return the numbers of a text as they stand there; "0." and "1,0" are such numbers too."""
    return NUMBER.findall(SENTENCE.sub("", text))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CASES)
def test_no_number_is_cut_and_no_line_is_too_long(
    printed: Callable[[str, int], str], name: str, width: int
) -> None:
    unbounded, text = printed(name, 2000), printed(name, width)
    assert max(map(len, text.splitlines())) <= width
    # A long name may end a line after one of its separators; its pieces are no numbers.
    names = {
        "".join(chunks[i:j])
        for word in [*unbounded.split(), *NAMES]
        if re.search(r"[A-Za-z_/]", word) and len(chunks := _chunks(word)) > 1
        for i in range(len(chunks))
        for j in range(i + 1, len(chunks) + 1)
    }
    assert set(numbers(text)) - set(numbers(unbounded)) - set(numbers(" ".join(names))) == set()


def test_cut_numbers_are_found() -> None:
    assert numbers("C 0. mAP 99.") == ["0.", "99."]
