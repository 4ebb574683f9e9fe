"""A page that opens offline, loads nothing and runs nothing, whatever stands in its values."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_LOADER = PackageLoader("pipelines")


def page(name: str, values: Mapping[str, Any], *, pictures: bool = False) -> bytes:
    """The template `name`.html with the style `name`.css; `pictures` allows those that the page holds itself.

    Every value is escaped by the template engine. Should one ever slip through, the browser still runs no script,
    sends no form, loads nothing and takes no style but ours, which its policy knows by its SHA-256.
    """
    environment = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    style = _LOADER.get_source(environment, f"{name}.css")[0]
    html = environment.get_template(f"{name}.html").render(
        values, style=Markup(style), policy=Markup(_policy(style, pictures=pictures))
    )
    return html.encode(errors="replace")


def _policy(style: str, *, pictures: bool) -> str:
    digest = b64encode(sha256(style.encode()).digest()).decode()
    shown = "; img-src data:" if pictures else ""
    return f"default-src 'none'; style-src 'sha256-{digest}'{shown}; base-uri 'none'; form-action 'none'"
