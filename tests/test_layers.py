"""The shape of the code: layers, size, docstrings. Each rule is also shown a snippet that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "raytl"
# From the bottom to the top; every module that lies in raytl itself, other than those at the top, is `plain`.
LAYERS = ("plain", "results", "models", "data", "train", "use", "on_ray", "cli")
TOP = (
    "raytl.afterwards_words",
    "raytl.cli",
    "raytl.commands",
    "raytl.data_words",
    "raytl.distill_command",
    "raytl.ensemble_command",
    "raytl.finished_study",
    "raytl.model_commands",
    "raytl.model_words",
    "raytl.python",
    "raytl.serve_command",
    "raytl.study_commands",
)
TORCH = {"torch", "torchvision", "timm"}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MODULE_LINES = 300
FUNCTION_LINES = 50

Trees = dict[str, ast.Module]
Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Trees], Iterator[str]]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_trees() -> Trees:
    return {module_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> str:
    parts = module.split(".")
    if module in TOP:
        return "cli"
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "plain"


def rank(module: str) -> int:
    return LAYERS.index(layer(module))


def imports(tree: ast.AST, modules: Trees | None = None) -> set[str]:
    """Modules that a tree imports, lazily or not; `from raytl.x import y` is raytl.x.y where that is a module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            inner = {f"{base}.{alias.name}" for alias in node.names}
            known = inner & set(modules or {})
            found |= known | ({base} if inner != known else set())
    return found


def eager_imports(tree: ast.Module, modules: Trees) -> set[str]:
    """What importing the module itself imports: not what stands in its functions, or there for type checkers alone."""
    statements = [node for node in tree.body if not isinstance(node, Function) and not _is_for_types(node)]
    return imports(ast.Module(body=statements, type_ignores=[]), modules)


def _is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def functions(trees: Trees) -> Iterator[tuple[str, Function]]:
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield name, node


def upward_imports(trees: Trees) -> Iterator[str]:
    """Imports point down. raytl itself is the door: it fetches a public name from any layer, once it is asked for."""
    for name, tree in trees.items():
        used = eager_imports(tree, trees) if name == "raytl" else imports(tree, trees)
        for other in used:
            if other.split(".")[0] == "raytl" and rank(other) > rank(name):
                yield f"{name} ({layer(name)}) imports {other} ({layer(other)}), which lies above it"


def foreign_imports(trees: Trees) -> Iterator[str]:
    """Ray in on_ray alone; torch in neither plain modules nor results; relative imports nowhere."""
    for name, tree in trees.items():
        for other in imports(tree):
            root = other.split(".")[0]
            if not root:
                yield f"{name} imports {other}: write the whole name"
            if root == "ray" and layer(name) != "on_ray":
                yield f"{name} imports {other}: only raytl.on_ray may"
            if root in TORCH and layer(name) in ("plain", "results"):
                yield f"{name} ({layer(name)}) imports {other}: only the layers from models up may"


def import_cycles(trees: Trees) -> Iterator[str]:
    """No module imports itself by way of others, lazily or not (raytl's lazy names left aside)."""
    graph = {
        name: (eager_imports(tree, trees) if name == "raytl" else imports(tree, trees)) & trees.keys() - {name}
        for name, tree in trees.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield " -> ".join(error.args[1])


def long_modules(trees: Trees) -> Iterator[str]:
    for name, tree in trees.items():
        lines = max((node.end_lineno or 0 for node in tree.body), default=0)
        if lines > MODULE_LINES:
            yield f"{name} has {lines} lines, more than {MODULE_LINES}"


def long_functions(trees: Trees) -> Iterator[str]:
    """A signature counts as one line, however many arguments it names."""
    for name, node in functions(trees):
        lines = (node.end_lineno or node.lineno) - node.body[0].lineno + 2
        if lines > FUNCTION_LINES:
            yield f"{name}.{node.name} has {lines} lines, more than {FUNCTION_LINES}"


def open_keywords(trees: Trees) -> Iterator[str]:
    """No `**kwargs`; but a method that Ray calls with some may take them, if it leaves them alone."""
    for name, node in functions(trees):
        open_ = node.args.kwarg
        if open_ and (layer(name) != "on_ray" or is_read(open_.arg, node)):
            yield f"{name}.{node.name} takes **{open_.arg}: name the arguments"


def is_read(argument: str, function: Function) -> bool:
    return any(isinstance(node, ast.Name) and node.id == argument for node in ast.walk(function))


def vague_names(trees: Trees) -> Iterator[str]:
    for name in trees:
        if name.split(".")[-1] in {"utils", "util", "helpers", "misc", "common"}:
            yield f"{name}: a module is named by what it is about"


def missing_docstrings(trees: Trees) -> Iterator[str]:
    """Public modules, and their public classes and functions, say what they are for."""
    for name, tree in trees.items():
        if not ast.get_docstring(tree):
            yield f"{name} has no docstring"
        for node in tree.body:
            if (
                isinstance(node, Function | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                yield f"{name}.{node.name} has no docstring"


def import_effects(trees: Trees) -> Iterator[str]:
    """Importing a module defines names and does nothing else."""
    for name, tree in trees.items():
        for node in tree.body:
            is_call = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            if is_call or isinstance(node, ast.For | ast.While | ast.With):
                yield f"{name}:{node.lineno} runs on import: {ast.unparse(node).splitlines()[0]}"


def unpickling(trees: Trees) -> Iterator[str]:
    """Nothing that lies on a disk is ever unpickled: whoever wrote it would run code."""
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                wanted = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                if wanted & PICKLES and wanted != {"pickle", "UnpicklingError"}:
                    yield f"{name} imports {', '.join(sorted(str(each) for each in wanted & PICKLES))}"
            if isinstance(node, ast.Call) and _may_unpickle(node):
                yield f"{name}:{node.lineno} may unpickle: {ast.unparse(node.func)}"


def _may_unpickle(call: ast.Call) -> bool:
    """`torch.load` without `weights_only=True`, `numpy.load` with `allow_pickle`, and Tune's way of restoring."""
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    function = ast.unparse(call.func)
    if function == "torch.load":
        return said.get("weights_only") != "True"
    return function == "Tuner.restore" or said.get("allow_pickle", "False") != "False"


LONG_BODY = "\n".join(f"    x = {index}" for index in range(FUNCTION_LINES))
BROKEN: list[tuple[Rule, dict[str, str]]] = [
    (upward_imports, {"raytl.study": "import raytl.results", "raytl.results": ""}),
    (upward_imports, {"raytl.results.ledger": "from raytl import models", "raytl.models": ""}),
    (upward_imports, {"raytl.models.heads": "def f():\n    from raytl.data.scan import scan", "raytl.data.scan": ""}),
    (upward_imports, {"raytl.data.scan": "from raytl.train import loop", "raytl.train.loop": ""}),
    (upward_imports, {"raytl.on_ray.search": "import raytl.cli", "raytl.cli": ""}),
    (upward_imports, {"raytl": "from raytl.train.loop import fit", "raytl.train.loop": ""}),
    (foreign_imports, {"raytl.train.loop": "import ray.train"}),
    (foreign_imports, {"raytl.cli": "def f():\n    import ray"}),
    (foreign_imports, {"raytl.study": "import torch"}),
    (foreign_imports, {"raytl.results.tables": "from torchvision import models"}),
    (foreign_imports, {"raytl.data.scan": "from . import split"}),
    (import_cycles, {"raytl.a": "from raytl.b import f", "raytl.b": "def g():\n    import raytl.a"}),
    (long_modules, {"raytl.a": "\n" * MODULE_LINES + "x = 1"}),
    (long_functions, {"raytl.a": f"class A:\n  async def f():\n{LONG_BODY}"}),
    (open_keywords, {"raytl.a": "def f(**kwargs): pass"}),
    (open_keywords, {"raytl.on_ray.a": "def f(**kwargs): g(**kwargs)"}),
    (vague_names, {"raytl.data.utils": ""}),
    (missing_docstrings, {"raytl.a": "x = 1"}),
    (missing_docstrings, {"raytl.a": "'''A.'''\nclass B: pass"}),
    (missing_docstrings, {"raytl.a": "'''A.'''\nasync def f(): pass"}),
    (import_effects, {"raytl.a": "print('hello')"}),
    (import_effects, {"raytl.a": "for x in range(3): pass"}),
    (unpickling, {"raytl.a": "import pickle"}),
    (unpickling, {"raytl.a": "from cloudpickle import loads"}),
    (unpickling, {"raytl.a": "import torch\ndef f(path): return torch.load(path)"}),
    (unpickling, {"raytl.a": "import torch\ndef f(path): return torch.load(path, weights_only=False)"}),
    (unpickling, {"raytl.a": "import numpy as np\ndef f(path): return np.load(path, allow_pickle=True)"}),
    (unpickling, {"raytl.on_ray.a": "from ray.tune import Tuner\ndef f(path): return Tuner.restore(path, f)"}),
]
RULES = list(dict.fromkeys(rule for rule, _ in BROKEN))


def parsed(sources: dict[str, str]) -> Trees:
    return {name: ast.parse(source) for name, source in sources.items()}


@pytest.mark.parametrize(("rule", "sources"), BROKEN)
def test_a_rule_finds_what_breaks_it(rule: Rule, sources: dict[str, str]) -> None:
    assert list(rule(parsed(sources)))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_lets_good_code_pass(rule: Rule) -> None:
    trees = parsed(
        {
            "raytl": "'''A.'''\nif TYPE_CHECKING:\n    import raytl.train.loop\n"
            "def __getattr__(name):\n    from raytl.train.loop import fit\n    return fit",
            "raytl.study": "'''A.'''\nimport numpy\nLIMIT = 3",
            "raytl.results.tables": "'''A.'''\nfrom raytl import study",
            "raytl.data.scan": "'''A.'''\nimport torch\nfrom raytl.models.heads import Head",
            "raytl.models.heads": "'''A.'''\nclass Head:\n    '''B.'''",
            "raytl.train.loop": "'''A.'''\nfrom raytl.data import scan\ndef fit(*rows):\n    '''B.'''",
            "raytl.on_ray.search": "'''A.'''\nimport ray\ndef _f(**spec): pass",
        }
    )
    assert list(rule(trees)) == []


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule: Rule) -> None:
    trees = package_trees()
    assert {"raytl", "raytl.recipe"} <= trees.keys()
    assert list(rule(trees)) == []


def test_f20_nothing_is_ever_unpickled() -> None:
    assert list(unpickling(package_trees())) == []


@pytest.mark.parametrize(
    ("rule", "folder"),
    [(long_modules, "experiments"), (long_functions, "experiments"), (long_functions, "tests"), (vague_names, "tests")],
)
def test_experiments_and_tests_keep_the_rule(rule: Rule, folder: str) -> None:
    trees = {module_name(path): ast.parse(path.read_text()) for path in (ROOT / folder).rglob("*.py")}
    assert trees
    assert list(rule(trees)) == []
