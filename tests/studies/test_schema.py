"""Study files: the shipped ones are valid, a wrong key names the near one, roots hang on the
file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.errors import SettingsError, UnknownNameError
from featcache.studies import load_study, shipped_names

SHIPPED = [
    "boundary",
    "demo",
    "dfwf",
    "finetune",
    "layers",
    "mixture",
    "resnet",
    "robustness",
    "univfd",
]


def test_all_shipped_studies_are_there() -> None:
    assert shipped_names() == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_study(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.asks.endswith(("?", ".)"))
    backbones = set(study.extract.backbones)
    assert backbones >= {feature for one in study.feature_sets for feature in one}
    assert set(study.probe.test_views) <= set(study.extract.views)


def test_the_paper_study_compares_what_the_paper_compares() -> None:
    study = load_study("dfwf")
    assert ("clip", "synclr") in study.feature_sets
    assert study.baseline == ("clip",)
    assert study.probe.train == (("progan",),)


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


OWN = 'title = "Mine"\nasks = "What?"\n[extract]\nbackbones = ["clip"]\n'


def test_roots_are_relative_to_the_file(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, OWN + '[data]\nroots = ["images"]\n'))
    assert study.name == "mine"
    assert study.data.roots == (str(tmp_path / "images"),)
    assert study.feature_sets == (("clip",),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            OWN.replace("backbones", "backbons"),
            "extract.backbons does not exist. Did you mean 'backbones'",
        ),
        (OWN.replace("asks", "ask"), "ask does not exist. Did you mean 'asks'"),
        (OWN + "[probe]\nC = -1\n", "probe.C"),
        (OWN + '[probe]\nheads = "knn"\n', "probe.heads"),
        ('title = "x"\nasks = "y"\n', "extract is missing"),
        ("title =", "is no TOML"),
    ],
)
def test_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_study(write(tmp_path, text))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_unknown_study_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'robustness'"):
        load_study("robustnes")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_study(str(tmp_path / "none.toml"))
