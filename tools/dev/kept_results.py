"""Results of test steps that passed, so that a second tools/test repeats only what can have changed.

A result is good while the step's command, its variables, every file that it reads and this host are the same; it is
kept in the build tree, so a fresh clone has none.
"""

import hashlib
import json
import os
import pathlib
import platform


def files_below(path):
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [path]


class KeptResults:
    """Each label has one result, in a file of its own. Threads may use it side by side for different labels."""

    def __init__(self, directory, inputs_root, again=False):
        """`again`: none is found, new ones are kept."""
        self.directory = pathlib.Path(directory)
        self.root = pathlib.Path(inputs_root)
        self.again = again
        self.directory.mkdir(parents=True, exist_ok=True)
        packages = pathlib.Path("/var/lib/dpkg/status")
        self.host = hashlib.sha256(repr((platform.uname(), os.getuid(), os.getgroups())).encode())
        self.host.update(packages.read_bytes() if packages.exists() else b"")

    def key(self, step):
        digest = self.host.copy()
        # HULL_TEST_LIMIT and its like change what a test does.
        ours = {name: value for name, value in os.environ.items() if name.startswith("HULL")}
        digest.update(repr((step.command, sorted({**ours, **step.environment}.items()))).encode())
        for path in step.inputs:
            for file in files_below(self.root / path):
                with file.open("rb") as opened:
                    content = hashlib.file_digest(opened, "sha256").digest()
                digest.update(repr(str(file.relative_to(self.root))).encode() + content)
        return digest.hexdigest()

    def path_of(self, step):
        return self.directory / hashlib.sha256(repr(step.command).encode() + repr(step.environment).encode()).hexdigest()

    def find(self, step, key):
        """How many tests passed, or None if that is not known for `key`."""
        if self.again:
            return None
        try:
            kept = json.loads(self.path_of(step).read_text())
            return int(kept["passed"]) if kept["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, step, key, passed):
        self.path_of(step).write_text(json.dumps({"key": key, "passed": passed}))

    def forget(self, step):
        self.path_of(step).unlink(missing_ok=True)
