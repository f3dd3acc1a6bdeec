import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from featcache.reports import results_table
from featcache.results import EvalResult, GeneratorResult, TrainResult


def outcome(group, ap, acc):
    return GeneratorResult(
        group=group,
        ap=ap,
        auroc=ap + 0.0049,
        acc=acc,
        r_acc=acc - 0.0211,
        f_acc=acc + 0.0213,
        n_real=200,
        n_fake=187,
        n_sources=151,
        ap_ci=(ap - 0.0312, ap + 0.0041),
        auroc_ci=(ap - 0.0323, ap + 0.0042),
        acc_ci=(acc - 0.0334, acc + 0.0343),
        r_acc_ci=(acc - 0.0545, acc + 0.0144),
        f_acc_ci=(acc - 0.0156, acc + 0.0345),
    )


RESULT = EvalResult(
    features=["efficientnet-lite0"],
    n_features=1280,
    train=TrainResult(generators=["cyclegan"], datasets=["d"], n_real=9, n_fake=9, n_sources=9),
    C=1.0,
    threshold=0.5,
    mAP=0.7534,
    mean_acc=0.7012,
    mAP_ci=(0.7211, 0.7822),
    mean_acc_ci=(0.6733, 0.7344),
    groups={},
    generators={
        "realesrgan": outcome("GAN", 0.5171, 0.5152),
        "stable-diffusion": outcome("diffusion", 0.7263, 0.6874),
        "cyclegan": outcome("GAN", 0.9912, 0.9421),
    },
    controls={"control-bicubic": outcome("control", 0.6013, 0.5914)},
    notes=["All reals are JPEG files and all fakes are PNG files: the probe may read the format."],
)


def show(result, width):
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(results_table(result))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_every_number_is_the_one_of_the_result():
    text = show(RESULT, 200)
    for tests in (RESULT.generators, RESULT.controls):
        for name, row in tests.items():
            (line,) = (line for line in text.splitlines() if line.startswith(name))
            numbers = [float(number) for number in re.findall(r"\d+\.?\d*", line)]
            metrics = ("ap", "auroc", "acc", "r_acc", "f_acc")
            fractions = [x for m in metrics for x in (getattr(row, m), *getattr(row, f"{m}_ci"))]
            assert numbers == [row.n_real, row.n_fake, *(round(100 * x, 1) for x in fractions)]
    assert "75.3 [72.1, 78.2]" in text
    assert "70.1 [67.3, 73.4]" in text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width):
    text = show(RESULT, width)
    assert max(map(len, text.splitlines())) <= width
    if width >= 80:
        assert "…" not in text
        assert "99.1 [96.0, 99.5]" in text


def test_names_are_no_markup_and_no_escape_sequences():
    row = RESULT.generators["cyclegan"]
    text = show(replace(RESULT, generators={"[red]x": row, "\x1b[2J\udcff": row}), 120)
    assert "[red]x" in text
    assert "\\x1b[2J\\udcff" in text


def test_without_controls_and_notes_there_is_no_word_of_them():
    text = show(replace(RESULT, controls={}, notes=[]), 120)
    assert "control" not in text
    assert text.splitlines()[-1].startswith("Percent")
