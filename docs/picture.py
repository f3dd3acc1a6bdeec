"""Make the README's picture of a report: ``python docs/picture.py featcache-demo/report.html
docs/report.webp``.

Takes a report as it is, shows some of its sections in two columns, and lets Chromium photograph
them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1900, 1300
SHOWN = 1400
"""Pixels: of the window, and of the picture's width."""

STYLE = """
:root { color-scheme: light; }
main { max-width: none; columns: 2; column-gap: 70px; padding: 36px 50px; }
header .themes, article > h2 + .finding ~ section:has(> [id$="-notes"]), details, .table-similarity,
section:has(> [id$="-card"]), section:has(> [id$="-reliability-title"]),
section:has(> [id$="-path-title"]),
section:has(> [id$="-sets"]), section:has(> [id="command"]),
article:has(> [id^="exhibit"]), article:has(> #audit),
.group-mean, .set ~ .set, h4:nth-of-type(n + 2), .kinds:nth-of-type(n + 2),
.table-views, .table-contributions,
.scroll:has(.table-similarity), .scroll:has(.table-views) { display: none; }
.kinds { grid-template-columns: 1fr 1fr; }
.wide { max-width: 26rem; }
.table-ablation { font-size: 0.66rem; }
.table-ablation :is(th, td) { padding-left: 0.3rem; }
.table-ablation tbody th { min-width: 8rem; }
section, article + article { margin-top: 26px; padding-top: 0; border: 0; }
.scroll:has(.table-ablation) { margin-inline: 0; }
section, figure, .set { break-inside: avoid; }
"""


def main(report: Path, target: Path) -> None:
    """Write ``target``, WebP, from a report in HTML."""
    page = report.read_text("utf-8").replace("</head>", f"<style>{STYLE}</style></head>", 1)
    with tempfile.TemporaryDirectory() as folder:
        copy, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        copy.write_text(page, "utf-8")
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}"]
        subprocess.run([*command, f"--screenshot={shot}", copy.as_uri()], check=True, timeout=120)
        image = Image.open(shot).convert("RGB")
        small = image.resize((SHOWN, SHOWN * HEIGHT // WIDTH), Image.Resampling.LANCZOS)
        small.save(target, quality=80, method=6)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
