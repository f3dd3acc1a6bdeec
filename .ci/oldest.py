"""Print the oldest versions that pyproject.toml allows, as a constraints file for pip."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))[
    "project"
]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *extras["viz"], *extras["demo"]]:
    if match := re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*>=\s*([0-9][^,; ]*)", requirement):
        print(f"{match[1]}=={match[2]}")
