"""A member of an ensemble written to a folder of its own, with its card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from raytl.data.album import Album
from raytl.use.export import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, load_model
from raytl.use.finals import Final, save_final
from raytl.use.library import is_published
from raytl.use.study_card import study_card


def write_member(final: Final, root: Path, source: str, album: Album, predictions: pa.Table, folder: Path) -> None:
    """Copies a final model that the study folder `root` holds, or saves it from its checkpoint, to `folder`.

    `source` names the data for the card, `predictions` is the study's table.

    Raises:
        StorageError: it cannot be read or written.
    """
    published = root / str(final.row.model_path)
    if not is_published(final, root) or load_model(published).recipe != final.recipe:
        save_final(final, album.classes, folder, study_card(source, album, [final], final, predictions))
        return
    folder.mkdir()
    for name in (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE):
        if (published / name).exists():
            shutil.copyfile(published / name, folder / name)
