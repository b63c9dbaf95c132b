"""What libraries say beside the study: nothing, unless it was asked for or a person can do something about it.

`RAYTL_LOG=debug`, which `--verbose` sets, lets everything through, the lines of Ray's workers included.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

VARIABLE, DEBUG = "RAYTL_LOG", "debug"
LIBRARIES = (
    "alembic",
    "google",
    "huggingface_hub",
    "hyperopt",
    "mlflow",
    "optuna",
    "PIL",
    "pydantic",
    "ray",
    "tensorboard",
    "timm",
    "torch",
    "torchvision",
    "urllib3",
)
# Warnings about the machine, which its owner can mend: a driver that is too old, a GPU that torch was not built for.
MATTERS = r"(?is).*(cuda|nvidia|driver|out of memory|/dev/shm|no space|deterministic)"
# Bars that are drawn over themselves have no place in a log, nor within a table.
QUIET_ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def is_wanted() -> bool:
    """Whether everything is to be shown."""
    return os.environ.get(VARIABLE, "").lower() == DEBUG


@contextmanager
def shown(everything: bool) -> Iterator[None]:
    """Within the block libraries say everything, or errors alone and those of their warnings that matter.

    `everything` holds for processes that are started within the block, too; the environment asks for the same.
    """
    with setting({VARIABLE: DEBUG} if everything else {}):
        if is_wanted():
            yield
            return
        with setting({name: value for name, value in QUIET_ENVIRONMENT.items() if name not in os.environ}), _hushed():
            yield


@contextmanager
def _hushed() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            names = "|".join(LIBRARIES)
            warnings.filterwarnings("ignore", module=rf"({names})(\.|$)")
            warnings.filterwarnings("default", message=MATTERS)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def setting(variables: Mapping[str, str]) -> Iterator[None]:
    """Within the block the environment has these variables, too."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
