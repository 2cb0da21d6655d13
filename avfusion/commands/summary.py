"""`avfusion summary`."""


def summary() -> None:
    """Print scores, times per stage, and the next steps."""
    from avfusion.reports.summary import print_summary
    from avfusion.runtime.project import project_root

    print_summary(project_root())
