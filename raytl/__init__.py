"""raytl: finds the best way to fine-tune an image classifier on a folder of labelled pictures.

What Python code calls is fetched from its module when it is first asked for: importing raytl loads neither torch nor
Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # names for editors and type checkers; at run time `__getattr__` gives them
    from raytl.python import load_model as load_model
    from raytl.python import search as search
    from raytl.results.loaded import load_study as load_study
    from raytl.study import Study as Study

__version__ = "0.1.0"
_HOMES = {
    "Study": "raytl.study",
    "load_model": "raytl.python",
    "load_study": "raytl.results.loaded",
    "search": "raytl.python",
}
__all__ = ["Study", "load_model", "load_study", "search"]


def __getattr__(name: str) -> object:
    """A public name, from the module that has it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'raytl' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What can be asked for."""
    return sorted([*globals(), *_HOMES])
