"""`avfusion register`."""


def register() -> None:
    """Register models/fusion in the MLflow registry, unless it is there; print the decision on its alias."""
    from avfusion.params.params import load_params
    from avfusion.runtime.project import project_root
    from avfusion.tracking.registry import CHAMPION, ensure_registered

    root = project_root()
    name = load_params(root / "params.yaml", ["register"]).register.name
    done = ensure_registered(root / "models" / "fusion", root=root, name=name)
    state = "registered as" if done.created else "already registered as"
    print(f"{name} {done.digest[:12]}: {state} version {done.version}, {done.decision} ({done.reason})")
    if done.provisional and CHAMPION not in done.aliases:
        print(
            f"commit and run `avfusion register` again to decide, or make it champion: avfusion champion {done.version}"
        )
