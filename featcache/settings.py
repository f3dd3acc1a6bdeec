"""The one settings object: flags, then ``FEATCACHE_*``, then ``featcache.toml``, then defaults.

The file is looked for in the working directory and upwards, as git looks for its own; relative
paths in it are relative to it. A key that does not exist is an error that names the near ones.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from featcache.errors import SettingsError, near_words
from featcache.files import read_text
from featcache.trust import MAX_SETTINGS_BYTES, require_trust

FILE_NAME = "featcache.toml"
PATH_KEYS = ("cache", "data", "weights")
"""Keys whose relative paths are meant relative to the file that they stand in."""


def split_names(value: Any) -> Any:
    """Turn ``"a,b"`` into ``["a", "b"]``, as flags and variables write lists.

    Parameters
    ----------
    value : Any
        Value to convert.

    Returns
    -------
    Any

    Examples
    --------
    >>> split_names("clip, synclr")
    ['clip', 'synclr']
    """
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def require_local(path: Path) -> Path:
    """Refuse an address such as ``s3://bucket``: as a path it would be a folder called ``s3:``.

    Parameters
    ----------
    path : Path
        A setting that names a file or folder.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ValueError
        If it is an address.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE):
        raise ValueError(
            "this is an address, and featcache reads and writes local folders; copy the data here,"
            " or mount them"
        )
    return path


LocalPath = Annotated[Path, AfterValidator(require_local)]
Names = Annotated[list[str], NoDecode, BeforeValidator(split_names)]
Paths = Annotated[list[LocalPath], NoDecode, BeforeValidator(split_names)]


class Settings(BaseSettings):
    """Everything that a command may be told.

    Parameters
    ----------
    cache : Path
        The store.
    data : list of Path
        Roots of the images.
    backbone, features, train : list of str
        Names; empty means "not said".
    preset : str
        Preprocessing preset; ``default`` is each backbone's own choice.
    precision : {"fp32", "bf16", "fp16", "auto"}
        Numeric precision of the forward pass.
    dtype : {"float32", "float16"}
        Type in which features are stored.
    view : list of str
        What is done to the images before the backbone.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    batch_size : int
        Images per forward pass; 0 means what suits the device and fits into its memory.
    workers : int
        Threads: forward passes at the same time on a CPU, decoding on a GPU; 0 means one per core.
    engine : str
        ``local`` or ``ray``.
    address : str
        Of a running Ray cluster; empty starts one on this machine.
    processes : int
        Worker processes of the Ray engine; 0 means one per GPU, or what fits the cores.
    shard_rows : int in [1, 4096]
        Images per shard: what a killed run may lose.
    C : float > 0 or str
        Inverse strength of the probe's penalty; ``"grid"`` and lists (``"0.01,1"``) are chosen from
        on validation data.
    source_pattern : str
        Regular expression whose first group is the photograph that a file comes from.
    weights : dict of str to Path
        Weights files by backbone name: the table ``[weights]`` of the file.
    weights_variable : list of str
        ``FEATCACHE_WEIGHTS``: folders that hold weights files, and ``NAME=FILE``. Beside
        ``weights`` and not above it: what the file of a study names comes before what lies on a
        machine.
    test_fraction : float in (0, 1)
        Share of the photographs held out where a tree has no train and test folders.
    layout : str
        How the tree is read; empty means by its structure.
    protocol : str
        A named protocol that says who trains and who is tested.
    generators, categories, only_groups : list of str
        What is taken of the manifests; empty means all.
    tested : list of str
        Generators to test on; empty means all.
    max_per_class : int > 0, optional
        Images of each generator, split and label at the most.
    classes : int > 0, optional
        Categories in the training set.
    groups : dict of str to list of str
        The user's own families of generators.
    columns : dict of str to str
        Fields (label, generator, split, source, path, image, category) to columns of the user's
        lists: the table ``[columns]`` of the file.
    labels : dict of str to {"real", "fake", "skip"}
        Values of labels and names of class folders: the table ``[labels]`` of the file.
    own_layouts : list of dict
        The tables ``[[layout]]`` of the file.
    """

    model_config = SettingsConfigDict(
        env_prefix="FEATCACHE_", extra="forbid", env_ignore_empty=True, validate_default=True
    )

    cache: LocalPath = Path("features")
    data: Paths = []
    backbone: Names = []
    features: Names = []
    train: Names = []
    preset: str = "default"
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    dtype: Literal["float32", "float16"] = "float32"
    view: Names = ["clean"]
    device: str = "auto"
    batch_size: Annotated[int, Field(ge=0)] = 0
    workers: Annotated[int, Field(ge=0)] = 0
    engine: str = "local"
    address: str = ""
    processes: Annotated[int, Field(ge=0)] = 0
    shard_rows: Annotated[int, Field(ge=1, le=4096)] = 1024
    C: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | str, Field(union_mode="left_to_right")
    ] = 1.0
    source_pattern: str = ""
    weights: Annotated[dict[str, Path], NoDecode] = {}
    weights_variable: Names = []
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    layout: str = ""
    protocol: str = ""
    generators: Names = []
    categories: Names = []
    only_groups: Names = []
    tested: Names = []
    max_per_class: Annotated[int | None, Field(ge=1)] = None
    classes: Annotated[int | None, Field(ge=1)] = None
    groups: dict[str, list[str]] = {}
    columns: dict[str, str] = {}
    labels: dict[str, Literal["real", "fake", "skip"]] = {}
    own_layouts: list[dict[str, Any]] = []

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the sources: flags, then the environment, then the file.

        Parameters
        ----------
        settings_cls : type[BaseSettings]
            Settings class.
        init_settings : PydanticBaseSettingsSource
            Values given as arguments.
        env_settings : PydanticBaseSettingsSource
            Values of environment variables.
        dotenv_settings : PydanticBaseSettingsSource
            Values of a dotenv file; not used.
        file_secret_settings : PydanticBaseSettingsSource
            Values of secret files; not used.

        Returns
        -------
        tuple[PydanticBaseSettingsSource, ...]
        """
        in_file = InitSettingsSource(settings_cls, init_kwargs=read_file(find_file(Path.cwd())))
        return init_settings, _Environment(settings_cls), in_file


class _Environment(EnvSettingsSource):
    """The environment, in which ``FEATCACHE_WEIGHTS`` means more than the table of the file."""

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        if "weights" in values:
            values["weights_variable"] = values.pop("weights")
        return values


def load_settings(**flags: Any) -> Settings:
    """Return the settings that hold here and now.

    Parameters
    ----------
    **flags
        What the command line said; ``None`` and empty lists mean "not said".

    Returns
    -------
    Settings

    Raises
    ------
    SettingsError
        Naming the setting, its value and what is allowed.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value not in (None, [])})
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def find_file(folder: Path) -> Path | None:
    """Return the nearest ``featcache.toml`` in ``folder`` or above it.

    Parameters
    ----------
    folder : Path
        Folder that is read or written.

    Returns
    -------
    Path | None
        The nearest ``featcache.toml`` in ``folder`` or above it.
    """
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def read_file(path: Path | None) -> dict[str, Any]:
    """Return the settings in a ``featcache.toml``, its relative paths made absolute.

    Parameters
    ----------
    path : Path | None
        File or folder.

    Returns
    -------
    dict[str, Any]
        The settings in a ``featcache.toml``, its relative paths made absolute.

    Raises
    ------
    SettingsError
        If the file is no TOML or holds a key that does not exist.
    """
    if path is None:
        return {}
    try:
        values = tomllib.loads(read_text(path, MAX_SETTINGS_BYTES))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.") from error
    if isinstance(values.get("layout"), list):
        values["own_layouts"] = values.pop("layout")
    for key in values:
        if key not in Settings.model_fields:
            raise SettingsError(
                f"{path} sets {key!r}, which does not"
                f" exist.{near_words(key, Settings.model_fields)}"
            )
    for key in PATH_KEYS:
        if key in values:
            values[key] = _anchored(values[key], path.parent)
    require_trust(path, values)
    return values


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return str(folder / value)
    if isinstance(value, dict):
        return {name: _anchored(item, folder) for name, item in value.items()}
    return [str(folder / item) for item in value] if isinstance(value, list) else value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        value = str(problem["input"]) if isinstance(problem["input"], Path) else problem["input"]
        lines.append(
            f"{name} = {value!r} is not allowed: {problem['msg'].removeprefix('Value error, ')}."
        )
    return " ".join(lines)


def split_all(values: list[str] | None) -> list[str]:
    """Return the names in repeated flags, each of which may hold several.

    Parameters
    ----------
    values : list[str] | None
        Values to read.

    Returns
    -------
    list[str]
        The names in repeated flags, each of which may hold several.

    Examples
    --------
    >>> split_all(["clip,synclr", "dinov2"])
    ['clip', 'synclr', 'dinov2']
    """
    return [name for value in values or () for name in split_names(value)]
