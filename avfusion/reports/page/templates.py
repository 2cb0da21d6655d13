"""Templates of pages: Jinja escapes every value, and a name that is not given is an error."""

from functools import cache

import jinja2


@cache
def page_template(package: str, name: str) -> jinja2.Template:
    """The template `name` in `package`; it may include files of that package and this one's style (`page.css`)."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(owner, "") for owner in (package, "avfusion.reports.page")])
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(name)
