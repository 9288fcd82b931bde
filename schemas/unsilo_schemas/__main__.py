"""`python -m unsilo_schemas FOLDER` writes the JSON Schemas there; a test says when that is due."""

import sys
from pathlib import Path

from .jsonschema import files

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m unsilo_schemas FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in folder.glob("*.json")} - set(files()):
        (folder / stale).unlink()
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
