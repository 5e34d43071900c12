"""A page of tables, bars and pictures in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.table import Table as Shown
from rich.text import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segrun.types import ClassMap, Sample

LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"±": "$\\pm$", "–": "--", "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
     "^": r"\textasciicircum{}", "−": "$-$", "×": r"$\times$", "Δ": r"$\Delta$", "<": "$<$", ">": "$>$"}
)  # fmt: skip
WIDTH = 260  # pixels of a picture on the page
GAP = 6
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #ddd }
h3 { font-size: 1rem }
table { border-collapse: collapse } th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid #eee }
td + td, th + th { text-align: right } pre { white-space: pre-wrap; font: inherit; margin: .3rem 0 }
.error { border-left: 4px solid #c22; padding-left: .8rem } .warn { border-left: 4px solid #d90; padding-left: .8rem }
figure { display: inline-block; margin: .4rem .8rem .4rem 0; vertical-align: top } img { max-width: 100% }
figcaption { font-size: .8rem; color: #555; overflow-wrap: anywhere; max-width: 33rem }
.columns { display: flex; flex-wrap: wrap; gap: 2.5rem }
"""


@dataclass(frozen=True)
class Table:
    """The first column is words, the others are numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

        lines = [row(self.head, "th"), *(row(cells, "td") for cells in self.rows)]
        return f"<h3>{escape(self.title)}</h3><table>{''.join(lines)}</table>"

    def markdown(self) -> str:
        def row(cells: Sequence[str]) -> str:
            return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

        ruler = "|---" + "|---:" * (len(self.head) - 1) + "|"
        return "\n".join([row(self.head), ruler, *map(row, self.rows)]) + "\n"

    def latex(self) -> str:
        """A tabular of the package booktabs."""

        def row(cells: Sequence[str]) -> str:
            return f"{' & '.join(cell.translate(LATEX) for cell in cells)} " + r"\\"

        lines = [row(self.head), r"\midrule", *map(row, self.rows)]
        begin = r"\begin{tabular}{l" + "r" * (len(self.head) - 1) + "}"
        return "\n".join([begin, r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def shown(self) -> Shown:
        """For the terminal."""
        table = Shown(title=Text(self.title), title_justify="left")
        for place, column in enumerate(self.head):
            table.add_column(Text(column), justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*map(Text, row))  # as they are: a class may be named [a]
        return table


@dataclass(frozen=True)
class Bars:
    """A bar for each label, as long as its value."""

    title: str
    bars: Sequence[tuple[str, float]]

    def html(self) -> str:
        most = max([value for _, value in self.bars] or [1]) or 1
        parts = []
        for place, (label, value) in enumerate(self.bars):
            y, long = 20 * place, 240 * value / most
            parts.append(
                f'<text x="150" y="{y + 14}" text-anchor="end">{escape(label)}</text>'
                f'<rect x="156" y="{y + 3}" width="{long:.1f}" height="14" fill="#47a"/>'
                f'<text x="{160 + long:.1f}" y="{y + 14}">{value:,.0f}</text>'
            )
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="500" height="{20 * len(self.bars)}" font-size="12">'
        return f"<div><h3>{escape(self.title)}</h3>{svg}{''.join(parts)}</svg></div>"


@dataclass(frozen=True)
class Picture:
    """pixels: (H, W, 3)."""

    caption: str
    pixels: NDArray[np.uint8]

    def html(self) -> str:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, format="PNG")
        source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        caption = escape(self.caption)
        return f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


@dataclass(frozen=True)
class Note:
    """A paragraph, as grave as `kind` ("error", "warn" or "") says, with pictures under it."""

    text: str
    kind: str = ""
    pictures: Sequence[Picture] = ()

    def html(self) -> str:
        pictures = "".join(picture.html() for picture in self.pictures)
        return f'<div class="{escape(self.kind)}"><pre>{escape(self.text)}</pre>{pictures}</div>'


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Table | Bars | Picture | Note]

    def html(self) -> str:
        bars = "".join(part.html() for part in self.parts if isinstance(part, Bars))
        rest = "".join(part.html() for part in self.parts if not isinstance(part, Bars))
        return f'<h2>{escape(self.title)}</h2>{rest}<div class="columns">{bars}</div>'


def page(title: str, sections: Sequence[Section]) -> str:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{''.join(section.html() for section in sections)}"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def overlay(sample: Sample, classes: ClassMap) -> NDArray[np.uint8]:
    """The image, and beside it the image under the colours of its mask; what has no label is left as it is."""
    import torch  # here, since comparisons need no torch

    from segrun.report.plots.run import coloured
    from segrun.types import VOID, for_the_eye

    image = Image.fromarray(for_the_eye(sample.image))
    size = (WIDTH, max(1, round(image.height * WIDTH / image.width)))
    seen = np.asarray(image.resize(size, Image.Resampling.BOX if image.width > WIDTH else Image.Resampling.NEAREST))
    labels = np.array(Image.fromarray(sample.mask.numpy()).resize(size, Image.Resampling.NEAREST))
    mixed = (0.45 * seen + 0.55 * coloured(torch.from_numpy(labels), classes)).astype(np.uint8)
    mixed = np.where((labels == VOID)[..., None], seen, mixed)
    return np.concatenate((seen, np.full((size[1], GAP, 3), 255, np.uint8), mixed), axis=1)
