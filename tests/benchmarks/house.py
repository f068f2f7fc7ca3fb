"""The house in figures: `python tests/benchmarks/house.py [CHECKOUT ...]`.

Reads the Python of each checkout (nothing is imported or run), prints its figures side by side
and every place behind a figure with `--places`. The last line is one JSON object, by checkout.

    rooms               lines of each room, its templates counted with it
    science             share of losses, metrics, the loop and the optimiser in all lines
    isinstance_teacher  isinstance calls and class patterns that ask which kind a teacher is
    any                 uses of typing.Any
    long_files          files of more than 300 lines
    long_functions      functions of more than 40 lines
    cut_overrides       places that cut a string at its "="
    whole_writes        functions that rename a file or folder into its place
    private_imports     imports of modules or names that begin with an underscore
    private_attributes  attributes that begin with an underscore and are defined nowhere in kdlsr
    test_lines          lines of tests, the benchmarks apart
"""

import argparse
import ast
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LONG_FILE, LONG_FUNCTION = 300, 40
SCIENCE = re.compile(r"(losses|metrics)/|training/(fit|loop|step|optimisation|schedules?)\.py")
TEMPLATES = {".html", ".css", ".j2", ".jinja", ".md", ".tex"}
CUTS = {"partition", "rpartition", "split", "rsplit", "find", "index"}
RENAMES = {"replace", "rename", "renames"}
NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace", "_field_defaults"}  # public, for all that

Function = ast.FunctionDef | ast.AsyncFunctionDef
Places = dict[str, list[str]]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def names_in(node: ast.AST) -> set[str]:
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def defined(tree: ast.AST) -> Iterator[str]:
    """All names that a module defines: what is private to kdlsr, not to another library."""
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                yield node.attr
        elif isinstance(node, ast.arg):
            yield node.arg


class Visitor(ast.NodeVisitor):
    """Collects the places of one file."""

    def __init__(self, file: str, own: set[str], places: Places) -> None:
        self.file, self.own, self.places = file, own, places
        self.inside: list[str] = []

    def note(self, figure: str, node: ast.AST) -> None:
        what = ast.unparse(node).splitlines()[0][:90]
        self.places[figure].append(f"{self.file}:{getattr(node, 'lineno', 0)} {what}")

    def visit_FunctionDef(self, node: Function) -> None:
        if (node.end_lineno or 0) - node.lineno + 1 > LONG_FUNCTION:
            self.places["long_functions"].append(f"{self.file}:{node.lineno} {node.name}")
        self.inside.append(node.name)
        self.generic_visit(node)
        self.inside.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Name(self, node: ast.Name) -> None:
        if node.id == "Any":
            self.note("any", node)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        module = getattr(node, "module", None) or ""
        for alias in node.names:
            dotted = f"{module}.{alias.name}" if module else alias.name
            if any(map(is_private, dotted.split("."))):
                self.note("private_imports", node)

    visit_ImportFrom = visit_Import  # noqa: N815

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if is_private(node.attr) and node.attr not in self.own | NAMED_TUPLE:
            self.note("private_attributes", node)
        self.generic_visit(node)

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        if any("Teacher" in name for name in names_in(node.cls)):
            self.note("isinstance_teacher", node.cls)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name == "isinstance" and _asks_for_a_teacher(*node.args):
            self.note("isinstance_teacher", node)
        cut = node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == "="
        if method in CUTS and cut:
            self.note("cut_overrides", node)
        if method in RENAMES and _renames_a_file(node):
            self.places["whole_writes"].append(f"{self.file} {'.'.join(self.inside)}")
        self.generic_visit(node)


def _asks_for_a_teacher(value: ast.expr, kinds: ast.expr) -> bool:
    classes = {name for name in names_in(kinds) if name[0].isupper()}
    is_teacher = re.search("teach|taught", ast.unparse(value))
    return any("Teacher" in name for name in classes) or bool(classes and is_teacher)


def _renames_a_file(call: ast.Call) -> bool:
    """Path.replace and Path.rename take one argument; os.replace two; str.replace two others."""
    assert isinstance(call.func, ast.Attribute)
    owner = ast.unparse(call.func.value)
    return owner in ("os", "shutil") or (len(call.args) == 1 and not call.keywords)


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def count_lines(checkout: Path) -> dict[str, int]:
    """Returns the lines of each room; modules beside the rooms are its entry points."""
    rooms: Counter[str] = Counter()
    for path in (checkout / "kdlsr").rglob("*"):
        if path.suffix == ".py" or path.suffix in TEMPLATES:
            parts = path.relative_to(checkout / "kdlsr").parts
            rooms[parts[0] if len(parts) > 1 else "entry points"] += lines_of(path)
    return dict(sorted(rooms.items()))


def figures(checkout: Path) -> tuple[dict[str, object], Places]:
    package = checkout / "kdlsr"
    files = {p.relative_to(package).as_posix(): p for p in sorted(package.rglob("*.py"))}
    trees = {name: ast.parse(path.read_text()) for name, path in files.items()}
    own = {name for tree in trees.values() for name in defined(tree)}
    kinds = ("isinstance_teacher", "any", "long_files", "long_functions", "cut_overrides")
    kinds += ("whole_writes", "private_imports", "private_attributes")
    places: Places = {kind: [] for kind in kinds}
    for name, tree in trees.items():
        Visitor(name, own, places).visit(tree)
        if (length := lines_of(files[name])) > LONG_FILE:
            places["long_files"].append(f"{name} {length}")
    places["whole_writes"] = sorted(set(places["whole_writes"]))
    rooms = count_lines(checkout)
    total = sum(rooms.values())
    science = sum(lines_of(path) for name, path in files.items() if SCIENCE.match(name))
    tests = list((checkout / "tests").rglob("*.py"))
    benchmarks = sum(lines_of(path) for path in tests if "benchmarks" in path.parts)
    found: dict[str, object] = {
        "lines": total,
        "rooms": rooms,
        "files": len(files),
        "science_lines": science,
        "science_percent": round(100 * science / total, 1),
        **{kind: len(found) for kind, found in places.items()},
        "test_lines": sum(map(lines_of, tests)) - benchmarks,
        "benchmark_lines": benchmarks,
    }
    return found, places


def flat(found: dict[str, object]) -> dict[str, object]:
    rooms = found["rooms"]
    assert isinstance(rooms, dict)
    rest = {key: value for key, value in found.items() if key != "rooms"}
    return {f"lines of {room}": count for room, count in rooms.items()} | rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="CHECKOUT")
    parser.add_argument("--places", action="store_true", help="print where each figure comes from")
    asked = parser.parse_args()
    checkouts = [path.resolve() for path in asked.checkouts] or [
        Path(__file__).resolve().parents[2]
    ]
    counted = [figures(checkout) for checkout in checkouts]
    columns = [flat(found) for found, _ in counted]
    for key in dict.fromkeys(key for column in columns for key in column):
        print(f"{key:24}", *(f"{column.get(key, 0)!s:>9}" for column in columns))
    for checkout, (_, places) in zip(checkouts, counted, strict=True):
        for kind, found in places.items() if asked.places else ():
            print(f"\n{checkout.name}: {kind}", *found, sep="\n  ")
    print(
        json.dumps({path.name: found for path, (found, _) in zip(checkouts, counted, strict=True)})
    )


if __name__ == "__main__":
    main()
