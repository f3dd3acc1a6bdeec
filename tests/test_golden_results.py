"""What commit ed0431d wrote is read, and the same commands still give the same numbers.

`golden/ed0431d` holds a small store, and what each command of `COMMANDS` wrote about it at that
commit. Floats may differ in their last digits (another BLAS); keys may be added, never lost.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

GOLDEN = Path(__file__).parent / "golden" / "ed0431d"
VOLATILE = frozenset(
    {"path", "paths", "result", "digest", "seconds", "versions", "time", "root", "host", "written",
     "out", "formats", "created", "files", "machine", "duration", "command", "pack",
     "p", "p_holm", "test"}
)  # fmt: skip

PROBE = ["probe", "--features", "a,b", "--C", "grid", "--prior", "0.1"]
COMMANDS: dict[str, list[str]] = {
    "probe": [
        *PROBE,
        "--test-view",
        "clean,jpeg:50",
        "--scores",
        "scores.csv",
        "--save",
        "head.safetensors",
    ],
    "probe-knn": ["probe", "--features", "b", "--head", "knn", "--k", "3"],
    "probe-sgd": ["probe", "--features", "a", "--head", "univfd-sgd"],
    "probe-stacking": ["probe", "--features", "a,c", "--fusion", "stacking"],
    "ablate": ["ablate", "--features", "a,b,c", "--C", "0.1,1", "--csv", "ablate.csv"],
    "ablate-heads": [
        "ablate",
        "--features",
        "a,c",
        "--head",
        "logistic,ridge,lda,prototype",
        "--test-view",
        "clean,jpeg:50",
    ],
    "transfer": ["transfer", "--features", "a", "--csv", "transfer.csv"],
    "head": ["head", "show", "head.safetensors"],
    "pack": ["cache", "export", "--features", "a", "--pack", "a.tar", "--licence", "CC0-1.0"],
    "datasets": ["datasets", "ls"],
    "cache": ["cache", "ls"],
}


def _is_interval(key: str) -> bool:
    """Tell whether a value is an interval: percentile then, Wilson with t quantiles since."""
    return "ci" in key.split("_") or key.endswith(("_low", "_high"))


def differences(golden: Any, now: Any, rows: str = "") -> list[str]:
    """List where `now` lacks or changes a value of `golden`."""
    if isinstance(golden, dict):
        if not isinstance(now, dict):
            return [f"{rows}: {golden!r} became {now!r}"]
        return [
            line
            for key, value in golden.items()
            if key not in VOLATILE and not _is_interval(key)
            for line in (
                differences(value, now[key], f"{rows}/{key}")
                if key in now
                else [f"{rows}/{key}: lost"]
            )
        ]
    if isinstance(golden, list):
        if not isinstance(now, list) or len(golden) != len(now):
            return [f"{rows}: {golden!r:.80} became {now!r:.80}"]
        return [
            line
            for number, (old, new) in enumerate(zip(golden, now, strict=True))
            for line in differences(old, new, f"{rows}/{number}")
        ]
    if isinstance(golden, float) and isinstance(now, (int, float)):
        # A logit is a sum of float32 products of both signs: its rounding is that of its terms.
        absolute = 1e-6 if rows.endswith("/logit") else 1e-9
        close = math.isclose(golden, now, rel_tol=1e-6, abs_tol=absolute)
        return [] if close or math.isnan(golden) else [f"{rows}: {golden!r} became {now!r}"]
    return [] if golden == now else [f"{rows}: {golden!r} became {now!r}"]


def _csv(path: Path) -> list[dict[str, Any]]:
    """Read a table; numbers become floats, so that they are compared as numbers."""

    def number(text: str) -> Any:
        try:
            return float(text)
        except ValueError:
            return text

    with path.open(newline="", encoding="utf-8") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _pack(path: Path) -> dict[str, str]:
    with tarfile.open(path) as tar:
        return {
            member.name: hashlib.sha256(file.read()).hexdigest()
            for member in tar.getmembers()
            if member.isfile() and (file := tar.extractfile(member)) is not None
            and not member.name.endswith(("pack.json", ".csv"))
        }  # fmt: skip


@pytest.fixture
def golden_store(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the golden store into the (empty) working directory."""
    shutil.copytree(GOLDEN / "store", "store")
    return Path("store").absolute()


@pytest.mark.usefixtures("golden_store")
def test_the_same_commands_give_the_same_numbers(featcache: Callable[..., Any]) -> None:
    for name, command in COMMANDS.items():
        store = [] if name == "head" else ["--cache", "store"]
        ran = featcache(*command, *store, "--json")
        assert ran.code == 0, (name, ran.err)
        golden = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
        # The similarity of features is debiased since; the golden values are the biased ones.
        golden.pop("similarity", None)
        assert differences(golden, ran.json) == [], name
    for name in ("scores.csv", "ablate.csv", "transfer.csv"):
        assert differences(_csv(GOLDEN / name), _csv(Path(name))) == [], name
    golden_head, head = load_file(GOLDEN / "head.safetensors"), load_file("head.safetensors")
    for name, array in golden_head.items():
        assert head[name] == pytest.approx(array, rel=1e-6, abs=1e-9), name
    assert _pack(Path("a.tar")).items() >= _pack(GOLDEN / "a.tar").items()


@pytest.mark.usefixtures("golden_store")
def test_saved_results_of_that_commit_are_reported(featcache: Callable[..., Any]) -> None:
    results = sorted((GOLDEN / "results").iterdir())
    ran = featcache(
        "report", *results, "--out", "report", "--format", "json,csv", "--cache", "store"
    )
    assert ran.code == 0, ran.err
    golden = sorted(path for path in (GOLDEN / "report").rglob("*.*"))
    assert golden
    for path in golden:
        now = Path("report") / path.relative_to(GOLDEN / "report")
        if path.suffix == ".json":
            documents = [json.loads(p.read_text("utf-8")) for p in (path, now)]
            assert differences(*documents) == [], path.name
        else:
            assert differences(_csv(path), _csv(now)) == [], path.name


def test_the_head_of_that_commit_is_read(featcache: Callable[..., Any]) -> None:
    ran = featcache("head", "show", GOLDEN / "head.safetensors", "--json")
    assert ran.code == 0, ran.err
    assert differences(json.loads((GOLDEN / "head.json").read_text("utf-8")), ran.json) == []


def test_the_pack_of_that_commit_is_read(featcache: Callable[..., Any]) -> None:
    ran = featcache("cache", "import", GOLDEN / "a.tar", "--cache", "imported", "--json")
    assert ran.code == 0, ran.err
    for path in (GOLDEN / "store" / "keys").glob("*/*.h5"):
        imported = Path("imported", "keys", path.parent.name, path.name)
        if imported.exists():
            assert imported.read_bytes() == path.read_bytes()
    assert list(Path("imported", "keys").glob("*/*.h5"))
