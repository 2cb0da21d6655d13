"""Load templates of pages: Jinja escapes every value, and an undefined name is an error."""

from functools import cache

import jinja2


@cache
def page_template(package: str, name: str) -> jinja2.Template:
    """The template `name` in `package`; it may include files from there, and `page.css` from here."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(owner, "") for owner in (package, "avfusion.reports.page")])
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)
