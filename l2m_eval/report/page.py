"""The report as one HTML file that needs nothing else: no network, no fonts, no scripts of others.

Everything that comes from results files goes through the template's autoescaping; the content security policy
lets only the page's own script run, whatever else may have got in.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from markupsafe import Markup

from l2m_eval.report.contents import Report
from l2m_eval.report.figures.style import large_number, minus_signs


def render_page(report: Report) -> str:
    """The page."""
    from jinja2 import Environment, StrictUndefined

    folder = files("l2m_eval.report")
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["kept_together"] = kept_together
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report, style=Markup(style), script=Markup(script), script_hash=f"sha256-{digest}"
    )


def kept_together(sentence: str) -> str:
    """A sentence whose quantities are not torn apart at the end of a line: ``L = 4``, ``3 ± 1``, ``95 %``.

    Numbers such as 6.9e+20 are written as powers of ten.
    """
    sentence = re.sub(r"\b\d\.\de\+\d+", lambda found: large_number(float(found[0])), sentence)
    return re.sub(
        r"(?<=[\w)]) (?=[=±%−])|(?<=[=±−]) (?=\S)|(?<=\d) (?=nats\b|tokens\b)",
        "\N{NO-BREAK SPACE}",
        minus_signs(sentence),
    )
