"""Files in the layouts of the data sets, made on the spot."""

import csv
import json

import pytest


class Folder:
    def __init__(self, root):
        self.root = root

    def __truediv__(self, name):
        return self.root / name

    def text(self, name, content, encoding="utf-8"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    def csv(self, name, header, *rows, encoding="utf-8"):
        path = self.text(name, b"")
        with open(path, "w", encoding=encoding, newline="") as file:
            csv.writer(file).writerows([header.split(",") if header else [], *rows] if header else rows)
        return path

    def json(self, name, content):
        return self.text(name, json.dumps(content, ensure_ascii=False))

    def jsonl(self, name, *rows):
        return self.text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def clip(self, name):
        """A file that is there; readers open no media."""
        return str(self.text(name, b""))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
