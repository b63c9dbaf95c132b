"""What `raytl predict` and `raytl export` print, write and return."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from raytl.cli import main
from raytl.models.classifier import build_classifier
from raytl.use.card import ModelCard
from raytl.use.export import load_model, save_model
from raytl.use.onnx_file import INPUT, batches
from raytl.use.predict import read_pictures
from tests.pictures import noise, write_classes
from tests.tiny import tiny_recipe

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    torch.manual_seed(0)
    recipe = tiny_recipe()
    save_model(folder, build_classifier(recipe, 3), recipe, ("a", "b", "c"), ModelCard("generated pictures"))
    return folder


def test_predictions_are_a_table(model: Path, tmp_path: Path, capsys: Captured) -> None:
    write_classes(tmp_path / "new", {"x": 3})
    assert main(["predict", str(model), str(tmp_path / "new")]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert [Path(row[0]).name for row in rows] == ["000.png", "001.png", "002.png"]
    assert all(row[1] in "abc" and 1 / 3 <= float(row[2]) <= 1 for row in rows)


def test_an_unreadable_picture_is_said_and_the_others_are_classified(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    noise(1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main(["predict", str(model), str(tmp_path / "bad.png"), str(tmp_path / "good.png")]) == 4
    said = capsys.readouterr()
    bad, good = (line.split("\t") for line in said.out.splitlines())
    assert (Path(bad[0]).name, bad[1]) == ("bad.png", "-") and bad[2].startswith("not a picture of a known kind")
    assert good[1] in "abc"
    assert said.err == (
        "raytl: 1 of 2 pictures could not be read; the others are classified above; "
        "mend or remove these files, then type the command again\n"
    )


def test_names_of_files_steer_no_terminal_and_stop_no_table(model: Path, tmp_path: Path, capfd: Captured) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"a\x1b[2J\n.png", b"b\xff.png"):
        noise(1).save(folder / os.fsdecode(name))
    (folder / os.fsdecode(b"c\xff\x1b.png")).write_bytes(b"no picture")
    assert main(["predict", str(model), str(folder)]) == 4
    names = [Path(line.split("\t")[0]).name for line in capfd.readouterr().out.splitlines()]
    assert names == ["a\\u001b[2J\\u000a.png", "b\\xff.png", "c\\xff\\u001b.png"]
    assert main(["predict", str(model), str(folder / os.fsdecode(b"d\xff\x1b.png"))]) == 4
    assert "d\\xff\\u001b.png: no such file" in capfd.readouterr().err


def test_where_no_picture_can_be_read_none_is_said_to_be_classified(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main(["predict", str(model), str(tmp_path / "bad.png")]) == 4
    assert capsys.readouterr().err == (
        "raytl: 1 of 1 pictures could not be read; none is classified; "
        "mend or remove these files, then type the command again\n"
    )


def test_predictions_need_a_model_and_pictures(model: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["predict", str(tmp_path), str(tmp_path)]) == 6
    assert main(["predict", str(model), str(tmp_path / "absent")]) == 4
    assert "no such file or folder" in capsys.readouterr().err


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "new", {"x": 5})


def test_the_likeliest_classes_are_printed_in_their_order(model: Path, pictures: Path, capsys: Captured) -> None:
    assert main(["predict", str(model), str(pictures), "--top", "3", "--batch", "2"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert len(rows) == 5
    for row in rows:
        probabilities = [float(text) for text in row[2::2]]
        assert sorted(row[1::2]) == ["a", "b", "c"]
        assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) == pytest.approx(1, abs=2e-4)
    assert main(["predict", str(model), str(pictures), "--top", "4"]) == 2
    assert "--top 4: the model has 3 classes" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--top", "0"], ["--batch", "few"], ["--batch", "-1"]])
def test_counts_are_whole_numbers(words: list[str], model: Path, pictures: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main(["predict", str(model), str(pictures), *words])
    assert end.value.code == 2 and "give a whole number from 1 on" in capsys.readouterr().err


def test_a_table_holds_what_is_printed(model: Path, pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    (pictures / "x" / "bad.png").write_bytes(b"no picture")
    assert main(["predict", str(model), str(pictures)]) == 4
    printed = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    out = tmp_path / "p.parquet"
    assert main(["predict", str(model), str(pictures), "--out", str(out), "--batch", "4"]) == 4
    said = capsys.readouterr()
    assert (
        said.out == f"{out}: 6 rows\n"
        and f"1 of 6 pictures could not be read; the others are classified in {out}" in said.err
    )
    table = pd.read_parquet(out)
    assert table["path"].tolist() == [row[0] for row in printed]
    for row, line in zip(table.to_dict("records"), printed, strict=True):
        if line[1] == "-":
            assert pd.isna(row["predicted"]) and row["problem"] == line[2]
        else:
            assert (row["predicted"], f"{row['probability']:.4f}") == (line[1], line[2]) and pd.isna(row["problem"])


def test_a_table_of_no_kind_is_refused_before_anything_is_read(tmp_path: Path, capsys: Captured) -> None:
    assert main(["predict", str(tmp_path / "absent"), "x.png", "--out", "p.txt"]) == 2
    assert ".csv, .parquet or .json" in capsys.readouterr().err


@pytest.mark.parametrize("order", ["before", "between", "after"])
def test_an_explanation_takes_no_picture_for_its_folder(
    order: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(2):
        noise(index).save(f"{index}.png")
    words = {
        "before": ["--explain", str(model), "0.png", "1.png"],
        "between": [str(model), "--explain", "0.png", "1.png"],
        "after": [str(model), "0.png", "1.png", "--explain"],
    }
    assert main(["predict", *words[order]]) == 0
    said = capsys.readouterr()
    assert [line.split("\t")[0] for line in said.out.splitlines()] == ["0.png", "1.png"]
    assert said.err == "2 heat maps in heat\n"
    assert sorted(path.name.split("-")[0] for path in Path("heat").iterdir()) == ["0", "1"]


def test_a_folder_for_explanations_is_enough(model: Path, pictures: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["predict", str(model), str(pictures), "--explain-out", str(tmp_path / "maps")]) == 0
    assert capsys.readouterr().err == f"5 heat maps in {tmp_path / 'maps'}\n"
    assert len(list((tmp_path / "maps").iterdir())) == 5


def test_a_model_goes_to_onnx_and_from_there_gives_what_predict_gives(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(model), "--format", "onnx"]) == 0
    assert capsys.readouterr().out.startswith("m.onnx: 0.4 MB, float32; its probabilities are PyTorch's within ")
    session = onnxruntime.InferenceSession("m.onnx")
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["a", "b", "c"]
    assert [each.name for each in Path().iterdir() if each.name.startswith((".", "m"))] == ["m.onnx"]
    assert main(["predict", str(model), str(pictures), "--out", "p.parquet"]) == 0
    files, loaded = sorted(pictures.rglob("*.png")), load_model(model)
    (batch,) = batches(loaded, read_pictures(files, loaded.eval_resize))
    (probabilities,) = session.run(["probabilities"], {INPUT: batch.contiguous().numpy()})
    expected = pd.read_parquet("p.parquet")
    assert expected["path"].tolist() == [str(file) for file in files]
    assert abs(probabilities - expected[["p_a", "p_b", "p_c"]].to_numpy()).max() <= 1e-4


def test_int8_lies_beside_and_says_how_it_compares(model: Path, tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("onnxruntime")
    data = write_classes(tmp_path / "data", dict.fromkeys("abc", 12))
    out = tmp_path / "x" / "y.onnx"
    assert main(["export", str(model), "--format", "onnx", "--out", str(out), "--int8", "--calibrate", str(data)]) == 0
    float_line, int8_line = capsys.readouterr().out.splitlines()
    assert float_line.startswith(f"{out}: ") and float_line.endswith("test pictures")
    assert int8_line.startswith(f"{out.with_name('y-int8.onnx')}: ") and "int8, static; the same class" in int8_line
    assert "test pictures, its probabilities within " in int8_line
    assert sorted(path.name for path in out.parent.iterdir()) == ["y-int8.onnx", "y.onnx"]
    assert main(["export", str(model), "--format", "onnx", "--out", str(out), "--int8"]) == 0
    assert "drawn pictures tell little of yours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "timm", "--int8"], "type --format onnx"),
        (["--format", "onnx", "--calibrate", "digits"], "only --int8 measures pictures"),
        (["--format", "onnx", "--out", "m.pt"], "ends in .onnx"),
        (["--format", "timm"], "timm has no form for this model: its backbone is not timm's; type --format onnx"),
    ],
)
def test_what_cannot_be_exported_is_refused(words: list[str], said: str, model: Path, capsys: Captured) -> None:
    assert main(["export", str(model), *words]) == 2
    assert said in capsys.readouterr().err
