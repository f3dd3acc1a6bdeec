"""A study as a typed file: what is asked, of which data, with which features and heads, compared
how.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from featcache.errors import SettingsError, near_words, unknown_name
from featcache.files import read_text

SHIPPED = "shipped"

Question = Literal[
    "finding",
    "paper",
    "univfd",
    "robustness",
    "architecture",
    "mixture",
    "boundary",
    "layers",
    "finetune",
]
"""What the first sentence of the report answers; each has a function in ``answers``."""

Names = tuple[str, ...]


class _Part(BaseModel):
    """A table of the file: a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPlan(_Part):
    """Which images.

    Parameters
    ----------
    source : {"roots", "demo", "simulate"}
        The user's trees; the demo's, made where it is missing; or fakes with a controlled artefact,
        made from photographs.
    roots : tuple of str
        Trees, relative to the file; ``--data`` and ``featcache.toml`` stand in where it is empty.
    protocol : str
        Named preset of generators and groups; empty for none.
    generators, groups, categories : tuple of str
        Filters; empty means all.
    max_per_class : int, optional
    source_pattern : str
        As ``--source-pattern``.
    artefacts : tuple of str
        For ``simulate``.
    strengths : tuple of float in (0, 1]
        For ``simulate``.
    """

    source: Literal["roots", "demo", "simulate"] = "roots"
    roots: Names = ()
    protocol: str = ""
    generators: Names = ()
    groups: Names = ()
    categories: Names = ()
    max_per_class: Annotated[int, Field(ge=1)] | None = None
    source_pattern: str = ""
    artefacts: Names = ()
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()


class ExtractPlan(_Part):
    """Which features.

    Parameters
    ----------
    backbones : tuple of str
        Feature names, taps included.
    views : tuple of str
        Views to cache, draws included (``univfd-train:4``).
    preset, precision : str
    """

    backbones: Annotated[Names, Field(min_length=1)]
    views: Names = ("clean",)
    preset: str = "default"
    precision: str = "fp32"


class ProbePlan(_Part):
    """Which heads on which features: every combination is one run.

    Parameters
    ----------
    features : tuple of tuple of str
        Feature sets; empty means each backbone alone.
    train : tuple of tuple of str
        Training sets of generators; an empty one means all.
    heads : tuple of str
    C : float or "grid"
    train_view : str
    test_views : tuple of str
        The first is what the tables show; the others make the robustness curve.
    classes : tuple of int
        Numbers of training categories to try; empty means all of them.
    shares : tuple of float in (0, 1)
        Shares of fakes in the mixtures that AP is stated for.
    """

    features: tuple[Names, ...] = ()
    train: tuple[Names, ...] = ((),)
    heads: Names = ("logistic",)
    C: Annotated[float, Field(gt=0)] | Literal["grid"] = 1.0
    train_view: str = "clean"
    test_views: Names = ("clean",)
    classes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()


class FinetunePlan(_Part):
    """Which backbones are trained further, as by ``featcache finetune``; the frozen ones are the
    runs.

    Parameters
    ----------
    backbones : tuple of str
        Of those that are extracted; empty for none. Trained on the first training set.
    blocks, lora : int, optional
        The last blocks, or the rank of a LoRA in them.
    epochs, patience, batch_size, seed : int
    lr : float, optional
    augment : {"univfd-train", "clean"}
    """

    backbones: Names = ()
    blocks: Annotated[int, Field(ge=0)] | None = None
    lora: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1, le=1000)] = 2
    patience: Annotated[int, Field(ge=1)] = 2
    batch_size: Annotated[int, Field(ge=1)] = 32
    lr: Annotated[float, Field(gt=0, lt=10)] | None = None
    augment: Literal["univfd-train", "clean"] = "univfd-train"
    seed: int = 0


class ReportPlan(_Part):
    """What the report adds.

    Parameters
    ----------
    published : tuple of str
        Rows of published numbers to set beside one's own.
    embed : bool
        A map of each feature's space.
    """

    published: Names = ()
    embed: bool = False


class StudyPlan(_Part):
    """A whole study.

    Parameters
    ----------
    name, title : str
    asks : str
        The question in a sentence.
    answer : str
        Which question the first sentence of the report answers.
    baseline : tuple of str
        Feature set that the others are compared with; empty for the first.
    """

    name: str = ""
    title: str
    asks: str
    answer: Question = "finding"
    baseline: Names = ()
    data: DataPlan = DataPlan()
    extract: ExtractPlan
    probe: ProbePlan = ProbePlan()
    finetune: FinetunePlan = FinetunePlan()
    report: ReportPlan = ReportPlan()

    @property
    def feature_sets(self) -> tuple[Names, ...]:
        """The feature sets that are probed."""
        return self.probe.features or tuple((name,) for name in self.extract.backbones)


def shipped_names() -> list[str]:
    """Return the names of the studies that come along.

    Returns
    -------
    list[str]
        The names of the studies that come along.
    """
    folder = files("featcache.studies").joinpath(SHIPPED)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir())


def load_study(name: str) -> StudyPlan:
    """Return a study from a file, or one that comes along by its name.

    Parameters
    ----------
    name : str
        A path that ends in ``.toml``, or the name of a shipped study.

    Returns
    -------
    Study
        Relative roots are made absolute, against the folder of the file.

    Raises
    ------
    UnknownNameError
        If no shipped study has the name.
    SettingsError
        If the file cannot be read, or a key or value is wrong: says which and the near one.
    """
    if name.endswith(".toml"):
        return _from_file(Path(name))
    if name not in shipped_names():
        raise unknown_name("study", name, shipped_names())
    text = files("featcache.studies").joinpath(SHIPPED, f"{name}.toml").read_text("utf-8")
    return parse_study(text, name, f"the shipped study {name}")


def _from_file(path: Path) -> StudyPlan:
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise SettingsError(f"The study {path} cannot be read: {error}.") from error
    study = parse_study(text, path.stem, str(path))
    roots = tuple(str(path.parent.resolve() / root) for root in study.data.roots)
    return study.model_copy(update={"data": study.data.model_copy(update={"roots": roots})})


def parse_study(text: str, name: str, where: str) -> StudyPlan:
    """Return the study that a TOML text describes; ``where`` names the text in messages.

    Parameters
    ----------
    text : str
        Text to read.
    name : str
        Name to look up or to show.
    where : str
        File or name, for messages.

    Returns
    -------
    StudyPlan
        The study that a TOML text describes.

    Raises
    ------
    SettingsError
        If a setting or a flag is not valid.
    """
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise SettingsError(f"{where} is no TOML: {error}.") from error
    try:
        return StudyPlan(**{"name": name, **values})
    except ValidationError as error:
        raise SettingsError(f"{where}: {_explain(error)}") from error


def _explain(error: ValidationError) -> str:
    return " ".join(_problem(dict(problem)) for problem in error.errors())


def _problem(problem: dict[str, Any]) -> str:
    path = [str(part) for part in problem["loc"]]
    where = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"{where} does not exist.{near_words(path[-1], _known(path[:-1]))}"
    if problem["type"] == "missing":
        return f"{where} is missing."
    return f"{where} = {problem['input']!r} is not allowed: {problem['msg']}."


def _known(path: list[str]) -> list[str]:
    """Return the keys of the table that ``path`` leads to."""
    model: type[BaseModel] = StudyPlan
    for part in path:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
