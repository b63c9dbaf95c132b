"""Models on disk: a folder of tensors, JSON and a card, which timm opens where timm can say the model."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raytl import __version__
from raytl.errors import ConfigError, StorageError
from raytl.models.backbones import InputSpec
from raytl.models.carried import CARRIED
from raytl.models.classifier import Classifier, build_classifier, output_count
from raytl.models.heads import LAST
from raytl.models.weights import NONE, WeightsReport
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder, draft_of
from raytl.results.schemas import ENSEMBLE
from raytl.steps import reached
from raytl.use.card import ModelCard, card_text

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "README.md"
FORMAT_VERSION = 1
SWAP_SECONDS = 0.2  # chosen: two renames take a thousandth of it, and who mistypes a folder does not notice


@dataclass(frozen=True)
class LoadedModel:
    """A saved model, in eval mode on the CPU, with what is needed to use it.

    Pictures are resized to `eval_resize` pixels, cut to `input.image_size` around the center and normalized by
    `input.mean` and `input.std`. With two classes and one logit, the logit speaks for the second class.
    """

    model: Classifier
    recipe: Recipe
    classes: tuple[str, ...]
    input: InputSpec
    eval_resize: int

    @property
    def sides(self) -> tuple[int, ...]:
        """Shorter sides in pixels to which a picture is resized for it: one."""
        return (self.eval_resize,)


@dataclass(frozen=True)
class TimmForm:
    """How timm says a model: `timm.create_model(architecture, num_classes=..., **arguments)`."""

    architecture: str
    classifier: str
    arguments: dict[str, object] = field(default_factory=dict)


def save_model(folder: Path, model: Classifier, recipe: Recipe, classes: tuple[str, ...], card: ModelCard) -> None:
    """Writes `model` to `folder`, whole or not at all; a model that is there already is replaced.

    Auxiliary heads serve training only and are left out.

    Raises:
        StorageError: where the folder cannot be written.
    """
    form = timm_form(model, recipe, len(classes))
    tensors = _timm_names(model, form) if form else _own_names(model)
    with drafted_folder(folder, "model") as draft:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, draft / WEIGHTS_FILE)
        config = _config(model, recipe, classes, form)
        (draft / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        (draft / CARD_FILE).write_text(card_text(card, model, recipe, classes, form is not None), "utf-8")


def load_model(folder: Path) -> LoadedModel:
    """Opens a folder that `save_model` wrote.

    Raises:
        ConfigError: it holds an ensemble, which is more than one model.
        StorageError: where files are missing, damaged, or do not fit each other.
    """
    own = own_config(folder)
    if own.get("format") == ENSEMBLE:
        raise ConfigError(
            f"{folder}: holds an ensemble, and this takes a single model; give one of its members, such as "
            f"{folder / own['members'][0]['folder']}"
        )
    try:
        recipe, classes = Recipe(**own["recipe"]), tuple(own["classes"])
        plain = replace(recipe, weights=NONE, aux_loss_weight=0.0, freeze_depth=0)
        with torch.random.fork_rng(devices=[]):
            model = build_classifier(plain, len(classes))
        form = timm_form(model, plain, len(classes)) if own["format"] == "timm" else None
        names = _timm_names(model, form) if form else _own_names(model)
        _fill(names, load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{folder}: the saved model cannot be read ({error!r}); save it again") from error
    model.weights = WeightsReport(recipe.backbone, "model", str(folder), "", 1.0, "a saved model")
    return LoadedModel(model.eval(), recipe, classes, model.input, recipe.eval_resize)


def timm_form(model: Classifier, recipe: Recipe, class_count: int) -> TimmForm | None:
    """How timm says this model, if it can: its own backbone and pooling, no attention, one linear layer."""
    if timm_obstacle(model, recipe, class_count):
        return None
    carried = CARRIED.get(recipe.backbone)
    architecture = carried.architecture if carried else recipe.backbone.partition(".")[0]
    arguments = dict(carried.arguments) if carried else _size_argument(model.backbone.net, recipe)
    form = TimmForm(architecture, model.backbone.classifier_names[0], arguments)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        twin = timm.create_model(architecture, num_classes=class_count, **arguments)
    shapes = {name: value.shape for name, value in twin.state_dict().items()}
    ours = {name: value.shape for name, value in _timm_names(model, form).items()}
    return form if shapes == ours else None


def timm_obstacle(model: Classifier, recipe: Recipe, class_count: int) -> str | None:
    """What of a model timm has no way to say; None where nothing is known to stand in the way."""
    obstacles = (
        (model.backbone.source != "timm", "its backbone is not timm's"),
        (recipe.head != "linear", f"head={recipe.head!r}, where timm has one linear layer"),
        (recipe.attention != "none", f"attention={recipe.attention!r} stands behind the backbone"),
        (recipe.pool != "backbone", f"pool={recipe.pool!r} is not the backbone's own"),
        (output_count(recipe, class_count) < 2, "it gives one logit for two classes"),
        (len(model.backbone.classifier_names) != 1, "timm's own has more than one classifier"),
    )
    return next((what for holds, what in obstacles if holds), None)


def _size_argument(net: nn.Module, recipe: Recipe) -> dict[str, object]:
    config = timm.get_pretrained_cfg(recipe.backbone)
    resized = config.fixed_input_size and config.input_size[-1] != recipe.image_size
    return {"img_size": recipe.image_size} if resized else {}


def _own_names(model: Classifier) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if not name.startswith("auxiliary.")}


def _timm_names(model: Classifier, form: TimmForm) -> dict[str, Tensor]:
    """The model's tensors under timm's names: the backbone's own, and the classifier's."""
    tensors = dict(model.backbone.net.state_dict())
    last = model.head.get_submodule(LAST)
    return tensors | {f"{form.classifier}.{name}": value for name, value in last.state_dict().items()}


def _config(model: Classifier, recipe: Recipe, classes: tuple[str, ...], form: TimmForm | None) -> dict[str, object]:
    own = {
        "version": __version__,
        "format_version": FORMAT_VERSION,
        "format": "timm" if form else "raytl",
        "recipe": recipe.values(),
        "classes": list(classes),
        "weights_sha256": model.weights.sha256,
    }
    spec = model.input
    pretrained = {
        "input_size": [3, spec.image_size, spec.image_size],
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": _crop_share(recipe),
        "crop_mode": "center",
        "mean": list(spec.mean),
        "std": list(spec.std),
        "num_classes": len(classes),
        "classifier": form.classifier if form else None,
    }
    named = {"num_classes": len(classes), "label_names": list(classes), "pretrained_cfg": pretrained, "raytl": own}
    if form is None:
        return {"architecture": recipe.backbone, **named}
    return {"architecture": form.architecture, "model_args": form.arguments, **named}


def _crop_share(recipe: Recipe) -> float:
    """The share from which timm, which divides by it and rounds down, comes to `eval_resize` again."""
    share = recipe.image_size / recipe.eval_resize
    return share if math.floor(recipe.image_size / share) == recipe.eval_resize else math.nextafter(share, 0)


@contextmanager
def drafted_folder(folder: Path, what: str) -> Iterator[Path]:
    """A new folder, which is `folder` at the end of the block, whole or not at all; `what` it holds is for messages.

    Raises:
        StorageError: where it cannot be written.
    """
    scratch = draft_of(folder)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        reached(f"{what} drafted")
        _put_in_place(scratch, folder)
    except OSError as error:
        raise StorageError(f"{folder}: the {what} cannot be written ({error}); nothing there was changed") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Path, folder: Path) -> None:
    """Renames `scratch` to `folder`; what was there is moved aside first, whole.

    Between the two renames nothing is there for a moment, so `own_config` looks again.
    """
    aside = folder.with_name(f"{scratch.name}-before")
    if folder.exists():
        folder.rename(aside)
        reached("model before moved aside")
    scratch.rename(folder)
    reached("model in its place")
    shutil.rmtree(aside, ignore_errors=True)


def own_config(folder: Path) -> dict[str, Any]:  # JSON
    """What raytl wrote of a saved model, or of an ensemble, for itself.

    Raises:
        StorageError: no such thing can be read, or a newer raytl wrote it.
    """
    path = folder / CONFIG_FILE
    try:
        own = json.loads(_awaited_text(path)).get("raytl")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{folder}: no saved model here; {_remedy(folder)}") from error
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON object"
        raise StorageError(
            f"{folder}: no saved model here, since {CONFIG_FILE} cannot be read ({reason}); {_remedy(folder)}"
        ) from error
    if own is None:
        raise StorageError(
            f"{folder}: {CONFIG_FILE} was not written by raytl; open it with timm ('local-dir:{folder}')"
        )
    if own["format_version"] > FORMAT_VERSION:
        raise StorageError(f"{folder}: written by raytl {own['version']}, which is newer than this one; update raytl")
    result: dict[str, Any] = own
    return result


def _awaited_text(path: Path) -> str:
    """A file's text; where its folder is missing, another model may just be put in its place."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        if path.parent.exists():
            raise
        time.sleep(SWAP_SECONDS)
        return path.read_text("utf-8")


def _remedy(folder: Path) -> str:
    """Which folder to give in the place of one that holds no model."""
    study = StudyFolder(folder.parent if StudyFolder(folder.parent).models == folder else folder)
    models = [str(path.parent) for path in sorted(study.models.glob(f"[!.]*/{CONFIG_FILE}"))]
    if models:
        return f"give the folder of a model, {' or '.join(models)}"
    if study.study_json.exists():
        return f"this study has none yet: `raytl resume {study.root}` goes on with it; they come to {study.models}"
    return f"give a folder that holds {CONFIG_FILE}, such as models/<backbone> of a study"


@torch.no_grad()
def _fill(target: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    wrong = sorted(target.keys() ^ tensors.keys())
    wrong += [name for name in target if name in tensors and target[name].shape != tensors[name].shape]
    if wrong:
        raise ValueError(f"tensors do not fit the model: {', '.join(wrong[:4])}")
    for name, value in target.items():
        value.copy_(tensors[name])
