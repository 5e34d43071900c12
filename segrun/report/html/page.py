"""Pages of tables, bars and pictures, each a single HTML file that loads nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segrun.names import visible
from segrun.report.table import Table

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
# pixels of a bar chart
CHART_WIDTH, ROW_HEIGHT, LABEL_WIDTH, LONGEST_BAR = 500, 20, 156, 240


@dataclass(frozen=True)
class Bars:
    """A bar chart of (label, value) pairs. The highest value gives the longest bar."""

    title: str
    bars: Sequence[tuple[str, float]]

    def html(self) -> str:
        highest = max((value for _, value in self.bars), default=1) or 1
        rows = [
            _bar(label, value, LONGEST_BAR * value / highest, ROW_HEIGHT * index)
            for index, (label, value) in enumerate(self.bars)
        ]
        size = f'width="{CHART_WIDTH}" height="{ROW_HEIGHT * len(self.bars)}"'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="12">{"".join(rows)}</svg>'
        return f"<div><h3>{escape(self.title)}</h3>{svg}</div>"


def _bar(label: str, value: float, length: float, top: int) -> str:
    baseline = top + 14  # of the text
    return (
        f'<text x="{LABEL_WIDTH - 6}" y="{baseline}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{LABEL_WIDTH}" y="{top + 3}" width="{length:.1f}" height="14" fill="#47a"/>'
        f'<text x="{LABEL_WIDTH + 4 + length:.1f}" y="{baseline}">{value:,.0f}</text>'
    )


@dataclass(frozen=True)
class Picture:
    """An image of shape (H, W, 3) with a caption."""

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
    """A paragraph with pictures below it. A `severity` of "error" or "warn" marks it as such."""

    text: str
    severity: str = ""
    pictures: Sequence[Picture] = ()

    def html(self) -> str:
        pictures = "".join(picture.html() for picture in self.pictures)
        return f'<div class="{escape(self.severity)}"><pre>{escape(self.text)}</pre>{pictures}</div>'


@dataclass(frozen=True)
class Section:
    """A title with content below it. Bar charts come last, side by side."""

    title: str
    content: Sequence[Table | Bars | Picture | Note]

    def html(self) -> str:
        charts = "".join(item.html() for item in self.content if isinstance(item, Bars))
        others = "".join(item.html() for item in self.content if not isinstance(item, Bars))
        return f'<h2>{escape(self.title)}</h2>{others}<div class="columns">{charts}</div>'


def page(title: str, sections: Sequence[Section]) -> str:
    """The HTML of a page. Control characters in any of its texts are shown escaped."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{''.join(section.html() for section in sections)}"
    return visible(f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n')
