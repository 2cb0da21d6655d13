"""What greets contributors: pages, hooks, workflows and templates agree with the project."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import yaml

import avfusion

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
LINT = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_pages_name_targets_and_files_that_exist() -> None:
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= TARGETS
        named = re.findall(r"\]\((?!https?:)([^)#]+)\)", text) + re.findall(r"`((?:avfusion|docs)/[\w./-]+)`", text)
        assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert avfusion.__version__ == project["version"]
    assert next(name for name in headings if name != "Unreleased") == avfusion.__version__


def test_hooks_check_what_lint_checks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert LINT is not None
    for line in LINT[1].splitlines():
        tool = line.strip().replace("$(BIN)", ".venv/bin").removesuffix(" .").removesuffix(" --check")
        assert any(entry.startswith(tool) for entry in entries), tool


def test_workflows_run_targets_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    made = [match[1] for step in steps if (match := re.fullmatch(r"make ([a-z-]+)", step))]
    assert made == ["lint", "test"]
    assert set(made) <= TARGETS
    assert [line for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines() if "make" in line] == [
        "make lint",
        "make test",
    ]


def test_reports_of_faults_bring_what_the_doctor_says() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text(encoding="utf-8"))
    (doctor,) = [field for field in form["body"] if field["id"] == "doctor"]
    assert "avfusion doctor --json" in doctor["attributes"]["label"]
    assert doctor["validations"]["required"]


def test_what_the_package_imports_is_a_dependency_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {re.split(r"[\[<>=; ]", line)[0].lower().replace("_", "-") for line in lines}
    providers = packages_distributions()
    by_another = {  # part of what a dependency is for
        **{
            "PIL": "matplotlib",
            "annotated_types": "pydantic",
            "pydantic_core": "pydantic",
            "markupsafe": "jinja2",
            "starlette": "fastapi",
        },
        **{"sqlalchemy": "mlflow", "urllib3": "mlflow"},
    }
    assert set(by_another.values()) <= declared
    missing = set()
    for path in [*(ROOT / "avfusion").rglob("*.py"), *(ROOT / "pipelines").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for top in {(name or "").partition(".")[0] for name in names} - {"avfusion", "", *by_another}:
                if top in sys.stdlib_module_names:
                    continue
                found = {name.lower().replace("_", "-") for name in providers.get(top, [top])}
                if not found & declared:
                    missing.add((top, path.relative_to(ROOT).as_posix()))
    assert missing == set()
