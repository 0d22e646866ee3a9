"""Writes a page of headings, paragraphs, tables and pictures as one HTML file and as Markdown."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HTML_FILE, MARKDOWN_FILE, PICTURE_FOLDER = "report.html", "report.md", "pictures"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd } h3 { margin: 2rem 0 .4rem }
div.wide { overflow-x: auto }
table { border-collapse: collapse; margin: .8rem 0; font-size: .88rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #999; white-space: nowrap }
td.number { text-align: right; white-space: nowrap }
tr.bad td { color: #a31515 } tr.good td { color: #0b6b2e }
tr.doubtful td { color: #8a6100 } tr.reference td { color: #666 }
img { max-width: 100%; display: block; margin: .6rem 0 }
figure { margin: 0 } figcaption { color: #555; font-size: .88rem }
"""
NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?( ?[%x])?")


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title of the page."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows under headers. Marks, one per row, colour rows: good, bad, doubtful, reference or an empty text."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Picture:
    """A PNG picture with the name of its file and a caption."""

    name: str
    png: bytes
    caption: str


Block = Heading | Paragraph | Table | Picture


def write_page(title: str, blocks: Sequence[Block], folder: Path) -> tuple[Path, Path]:
    """Write report.html, which needs no other file, and report.md with its pictures; returns both paths."""
    pictures = folder / PICTURE_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Picture):
            (pictures / f"{block.name}.png").write_bytes(block.png)
    page, markdown = folder / HTML_FILE, folder / MARKDOWN_FILE
    page.write_text(as_html(title, blocks), encoding="utf-8")
    markdown.write_text(as_markdown(title, blocks), encoding="utf-8")
    return page, markdown


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Return a whole HTML document; pictures are embedded."""
    body = "\n".join(_html_block(block) for block in (Heading(title, 1), *blocks))
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def as_markdown(title: str, blocks: Sequence[Block]) -> str:
    """Return Markdown; pictures are links."""
    return "\n\n".join(_markdown_block(block) for block in (Heading(title, 1), *blocks)) + "\n"


def _html_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{html.escape(block.text)}</p>"
    if isinstance(block, Picture):
        data = base64.b64encode(block.png).decode()
        caption = html.escape(block.caption)
        image = f'<img src="data:image/png;base64,{data}" alt="{caption}">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    marks = list(block.marks) or [""] * len(block.rows)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in block.headers)
    rows = "\n".join(_html_row(row, mark) for row, mark in zip(block.rows, marks, strict=True))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'


def _html_row(row: Sequence[str], mark: str) -> str:
    cells = "".join(
        f'<td class="number">{html.escape(text)}</td>' if NUMBER.fullmatch(text) else f"<td>{html.escape(text)}</td>"
        for text in row
    )
    return f'<tr class="{mark}">{cells}</tr>' if mark else f"<tr>{cells}</tr>"


def _markdown_block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Paragraph):
        return block.text
    if isinstance(block, Picture):
        return f"![{block.caption}]({PICTURE_FOLDER}/{block.name}.png)"
    rows = [block.headers, ["---"] * len(block.headers), *block.rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in rows)
