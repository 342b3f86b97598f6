"""One self-contained HTML file: sections in the page's template, with the one style sheet that all pages share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from mae_core.errors import UserError
from mae_core.process.installation import pip_install

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def needed() -> str:
    """Say what a report needs, and how to install it."""
    return f"a report needs jinja2 and matplotlib: {pip_install('mae-core', 'report')}"


@dataclass(frozen=True)
class Section:
    """A heading with HTML below it.

    Args:
        title: plain text.
        body: HTML, one part after the other.
        anchor: what links name; the place in the page where empty.
    """

    title: str
    body: Sequence["Markup"]
    anchor: str = ""


@dataclass(frozen=True)
class Page:
    """What a report shows.

    Args:
        title: plain text, of the browser's tab too.
        headline: the result in one sentence.
        lede: what the run was, in one sentence.
    """

    title: str
    headline: str
    lede: str
    sections: Sequence[Section] = field(default_factory=list)


@cache
def template_environment() -> "Environment":
    """Return the templates; all that is filled in is escaped.

    Raises:
        UserError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UserError(needed()) from None
    return Environment(
        loader=PackageLoader("mae_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def part(name: str, *args: Any, **kwargs: Any) -> "Markup":
    """Fill in one macro of `templates/parts.html`."""
    macro = getattr(template_environment().get_template("parts.html").module, name)
    filled: Markup = macro(*args, **kwargs)
    return filled


def render(page: Page, version: str = "") -> str:
    """Return the page as one HTML file.

    Args:
        version: of a live page, which reloads when its server has another one; empty for a file that stands for itself.
    """
    return template_environment().get_template("page.html").render(page=page, version=version)
