"""What libraries say: what nobody can mend is hushed, what its owner can mend is shown, and all of it on request."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest

from raytl.noise import DEBUG, VARIABLE, is_wanted, shown

DRIVER = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("default")
        yield


def warned(text: str, module: str, category: type[Warning] = UserWarning, everything: bool = False) -> bool:
    """Whether a warning of a module is shown within the block."""
    with warnings.catch_warnings(record=True) as caught, shown(everything):
        warnings.showwarning = lambda *found, **_: caught.append(found)  # type: ignore[arg-type]
        warnings.warn_explicit(text, category, f"{module}.py", 1, module, registry={})
    return bool(caught)


@pytest.mark.parametrize("module", ["timm.models", "torch", "ray.tune.impl", "hyperopt.base", "torchvision.ops"])
@pytest.mark.parametrize("category", [UserWarning, FutureWarning, DeprecationWarning])
def test_what_a_user_can_do_nothing_about_is_hushed(module: str, category: type[Warning]) -> None:
    assert not warned("a name has moved", module, category)
    assert warned("a name has moved", module, category, everything=True)


@pytest.mark.parametrize("text", [DRIVER, "No space left on device", "CUDA out of memory"])
def test_what_the_owner_of_the_machine_can_mend_is_shown(text: str) -> None:
    assert warned(text, "torch.cuda")


@pytest.mark.parametrize("module", ["raytl.study", "mine", "timmy", "torchless.models"])
def test_other_modules_are_heard(module: str) -> None:
    assert warned("look here", module)


def test_libraries_log_errors_and_get_their_levels_back() -> None:
    logger = logging.getLogger("timm")
    before = logger.level
    with shown(False):
        assert not logging.getLogger("timm.models._builder").isEnabledFor(logging.WARNING)
        assert logging.getLogger("timm.models._builder").isEnabledFor(logging.ERROR)
        assert os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
    assert logger.level == before and "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ


def test_the_environment_asks_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, DEBUG)
    assert is_wanted() and warned("a name has moved", "timm.models")


def test_verbose_holds_for_processes_that_are_started() -> None:
    program = "from raytl.noise import is_wanted; print(is_wanted())"

    def said() -> str:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    with shown(True):
        assert is_wanted() and said() == "True\n"
    assert not is_wanted() and said() == "False\n"
