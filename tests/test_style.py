"""The project speaks of itself alone; tests mirror modules; text files are whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
BINARY = {".safetensors", ".parquet", ".arrow", ".png", ".jpg", ".npz", ".onnx"}
# Modules that only one other module uses, tested with it.
TESTED_ELSEWHERE = {
    "raytl/data_words": "test_cli",
    "raytl/data/decode": "test_scan",
    "raytl/data/listing": "test_sources",
    "raytl/data/looks": "test_suspects",
    "raytl/data/draws": "test_views",
    "raytl/data/warp": "test_views",
    "raytl/data/color": "test_views",
    "raytl/data/policies": "test_views",
    "raytl/results/final_figures": "test_final",
    "raytl/models/chance": "test_classifier",
    "raytl/train/cache": "test_fronts",
    "raytl/train/head_epochs": "test_probing",
    "raytl/output": "test_options",
    "raytl/unread": "test_cli",
    "raytl/results/console": "test_log_lines",
    "raytl/model_words": "test_cli",
    "raytl/afterwards_words": "test_cli",
    "raytl/results/afterwards": "test_distillates",
    "raytl/use/student": "test_distill_command",
    "raytl/use/teacher": "test_distill_command",
    "raytl/use/ensemble_card": "test_ensemble_command",
    "raytl/wish": "test_distill_command",
    "raytl/use/library": "test_ensemble_command",
    "raytl/use/member": "test_ensemble_command",
    "raytl/on_ray/publication": "test_driver",
    "raytl/on_ray/hooks": "test_bridge",
    "raytl/results/ranking": "test_probe",
    "raytl/results/result_only": "test_view",
    "raytl/use/bounds": "test_web_app",
    "raytl/use/sight": "test_web_app",
    "raytl/use/upload": "test_web_app",
    "raytl/use/viewer": "test_web_app",
    "raytl/on_ray/replica": "test_serving",
}
# A folder that one machine has means nothing to anybody else; a shell's ~ and $HOME are fine.
FOREIGN = re.compile(r"(?<![\w.~}])/(?:home|root|work|Users)/(?!ubuntu\b)[\w.-]+|\b[A-Z]:\\Users\b")


def project_files() -> list[Path]:
    """What git knows or would add; all that is not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def text_problems(name: str, text: str) -> list[str]:
    """What is wrong with one text file."""
    problems = [f"{name}: {path} is a path of one machine" for path in FOREIGN.findall(text)]
    if text and not text.endswith("\n"):
        problems.append(f"{name}: no newline at the end")
    if "\r" in text:
        problems.append(f"{name}: carriage returns")
    if re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE):
        problems.append(f"{name}: an unresolved merge")
    return problems


def outside_paths(name: str, text: str) -> list[str]:
    """Folders beside the checkout may be named by the continuous build alone."""
    return [] if name == ".ci/run" else [f"{name}: {found}" for found in re.findall(r"\.\./\w\S*", text)]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout, so the project's files are not known")
def test_text_files_are_whole_and_name_no_machine() -> None:
    files = [path for path in project_files() if path.suffix not in BINARY]
    assert Path(__file__) in files
    texts = {path.relative_to(ROOT).as_posix(): path.read_bytes().decode("utf-8") for path in files}
    skipped = {"tests/test_style.py"}  # its examples are what it looks for
    problems = [problem for name, text in texts.items() if name not in skipped for problem in text_problems(name, text)]
    problems += [found for name, text in texts.items() if name not in skipped for found in outside_paths(name, text)]
    assert problems == []


@pytest.mark.parametrize(
    "text", ["see /work/notes\n", "cd /home/me\n", '"/root/x"\n', "no newline", "a\r\n", "<<<<<<< a\n"]
)
def test_a_bad_text_is_found(text: str) -> None:
    assert text_problems("a.md", text)


@pytest.mark.parametrize("text", ["", "~/work/x\n", "https://x.org/home/me\n", "$HOME/work/a\n", "a/root/b\n"])
def test_a_good_text_passes(text: str) -> None:
    assert text_problems("a.md", text) == []


def test_tests_mirror_modules() -> None:
    """raytl/data/scan.py is tested in test_scan.py, or in test_data_scan.py where two modules share a name."""
    modules = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "raytl").rglob("*.py")]
    modules = [module for module in modules if module.name not in ("__init__", "__main__")]
    assert modules
    untested = [
        str(module)
        for module in modules
        if not (TESTS / f"test_{module.name}.py").exists()
        and not (TESTS / f"test_{'_'.join(module.parts[1:])}.py").exists()
        and str(module) not in TESTED_ELSEWHERE
    ]
    assert untested == []
    assert set(TESTED_ELSEWHERE) <= {str(module) for module in modules}
    assert all((TESTS / f"{name}.py").exists() for name in TESTED_ELSEWHERE.values())
