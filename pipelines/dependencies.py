"""Keep each stage's first-party imports in its deps: `make deps` writes them into dvc.yaml.

DVC reruns a stage when one of its deps changed. A stage depends on its script and on every module of this project
that the script reaches by imports, those inside functions included; a test compares this list with dvc.yaml.
"""

import ast
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "avfusion"


def first_party_files(script: Path, root: Path = ROOT) -> list[str]:
    """The script and every file of the package that it reaches by imports, relative to the root and sorted."""
    found: set[Path] = set()
    waiting = [script.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for module in _imported_modules(path, root) for file in _module_files(module, root)]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _imported_modules(path: Path, root: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise SystemExit(f"{path}: relative import; the project imports by full name")
            # `from package import name`: the name may be a module.
            modules |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for module in modules if module.split(".")[0] == PACKAGE}


def _module_files(module: str, root: Path) -> list[Path]:
    """The files that importing a module runs: the packages above it and itself; none for a name that is no module."""
    files = []
    path = root
    for part in module.split("."):
        path = path / part
        if path.is_dir():
            files.append(path / "__init__.py")
        elif path.with_suffix(".py").is_file():
            files.append(path.with_suffix(".py"))
    return files


def main() -> None:
    """Write the lists into dvc.yaml, everything else kept as it is."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = ROOT / "dvc.yaml"
    pipeline = yaml.load(path)
    for name, stage in pipeline["stages"].items():
        others = [dep for dep in stage["deps"] if not str(dep).endswith(".py")]
        code = first_party_files(ROOT / "pipelines" / f"{name}.py")
        stage["deps"][:] = others + code
        stage["deps"].fa.set_block_style()
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(pipeline, stream)


if __name__ == "__main__":
    main()
