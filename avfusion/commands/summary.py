"""`avfusion summary`."""


def summary() -> None:
    """Print scores, times per stage, and what to do next."""
    from avfusion.project import project_root
    from avfusion.summary import print_summary

    print_summary(project_root())
