"""`avfusion summary`."""


def summary() -> None:
    """Print scores, times per stage, and what to do next."""
    from avfusion.reports.summary import print_summary
    from avfusion.runtime.project import project_root

    print_summary(project_root())
