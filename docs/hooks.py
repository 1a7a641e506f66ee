"""What MkDocs does not do by itself: formulas as MathML, and a page from outside its folder."""

import html
import logging
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).parents[1]
# As pymdownx.arithmatex writes \(inline\) and \[block\] formulas, with what must not leave them.
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\([(\[])(.+?)\\[)\]]</\1>([.,:;)]*)',
    re.DOTALL,
)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Puts texts from outside the folder on their pages.

    Links of these texts start at the root, those of the site in its folder.
    """
    if page.file.src_uri.startswith("decisions/"):
        page.meta["search"] = {"boost": 0.5}  # users look for how-to pages
    if page.file.src_uri == "index.md":
        return markdown.replace("<!-- README.md -->", claim_picture_and_code())
    if page.file.src_uri != "reproduction.md":
        return markdown
    text = text_of("REPRODUCTION.md")
    # Of files that are not on the site the names stay.
    return re.sub(r"\[([^]]*)\]\(examples/[^)]*\)", r"`\1`", text)


def text_of(name: str) -> str:
    """Returns a file of the root as a text of the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](")


def claim_picture_and_code() -> str:
    """Returns the first part of the README, with its code beside the picture."""
    first, _, rest = text_of("README.md").partition("\n## Install")
    _, claim, result, picture, caption = first.strip().split("\n\n")
    code = re.search(r"```python\n.*?```", rest, re.DOTALL)
    assert code, "The README shows no Python."
    beside = "\n\n".join([picture, code[0]])
    return "\n\n".join(
        [
            claim,
            result,
            f'<div class="beside" markdown>\n{beside}\n</div>',
            caption,
        ]
    )


def mathml(formula: str, *, display: str) -> str:
    """Returns a formula in LaTeX as MathML, which browsers draw without a script.

    Args:
        formula: the formula, without its delimiters.
        display: ``"inline"`` or ``"block"``.

    Returns:
        A ``<math>`` element.

    Raises:
        ValueError: The formula has a command that latex2mathml does not know.
    """
    result = convert(formula, display=display)
    if unknown := re.findall(r"\\[A-Za-z]*", result):
        raise ValueError(
            f"latex2mathml does not know {unknown[0]} in the formula {formula!r}."
        )

    for pattern, replacement in SPACING_AND_LETTERS.items():
        result = re.sub(pattern, replacement, result)
    return result


# Browsers set names and slashes off as they do relations, take a minus after a relation for a
# difference, and draw no variant of letters but the upright one.
SPACING_AND_LETTERS = {
    "<mo>([A-Za-z]+)</mo>": r'<mo lspace="0.167em" rspace="0.167em">\1</mo>',
    "<mi>([a-z]{2,})</mi>(?=<m[in])": r'<mi>\1</mi><mspace width="0.167em" />',
    "<mo>(/|&#x0002F;)</mo>": '<mo lspace="0" rspace="0">/</mo>',
    r"(&#x0003D;|&#x02248;)</mo><mo>&#x02212;</mo>": r'\1</mo><mo form="prefix">&#x02212;</mo>',
    '<mi mathvariant="double-struck">E</mi>': "<mi>𝔼</mi>",
}


def on_page_content(content: str, *, page: Any, **_: Any) -> str:
    """Replaces every formula of a page by MathML."""

    def replace(match: re.Match[str]) -> str:
        tag, bracket, formula, punctuation = match.groups()
        display = "block" if bracket == "[" else "inline"
        try:
            formula = mathml(html.unescape(formula).strip(), display=display)
        except Exception as error:  # mkdocs build --strict fails on a warning, and names all pages
            logging.getLogger("mkdocs.hooks").warning(
                "%s: %s", page.file.src_uri, error
            )
        return f'<{tag} class="arithmatex">{formula}{punctuation}</{tag}>'

    return FORMULA.sub(replace, content)
