"""Tests of tools/dev/nested: the machine that stands in for a host with hardware virtualisation."""

import pathlib
import subprocess
import tempfile
import unittest

NESTED = pathlib.Path(__file__).resolve().parents[2] / "tools/dev/nested"


def nested(directory, *command, limit=100):
    return subprocess.run([NESTED, "--out", directory, "--timeout", str(limit), "--", *command],
                          capture_output=True, text=True, check=False)


class Nested(unittest.TestCase):
    def test_command_has_hardware_kvm_and_its_status_comes_back(self):
        with tempfile.TemporaryDirectory() as directory:
            script = "grep -qw svm /proc/cpuinfo && test -w /dev/kvm && echo kept >$HULL_OUT/file; echo printed; exit 7"
            result = nested(directory, "bash", "-c", script)
            self.assertEqual((result.returncode, result.stdout), (7, "printed\n"), result.stderr)
            self.assertEqual(pathlib.Path(directory, "file").read_text(), "kept\n")

    def test_host_files_are_seen_but_not_changed(self):
        with tempfile.TemporaryDirectory() as directory, tempfile.NamedTemporaryFile("w+") as file:
            file.write("host")
            file.flush()
            result = nested(directory, "sh", "-c", f"cat {file.name}; echo changed >{file.name}; cat {file.name}")
            self.assertEqual((result.returncode, result.stdout), (0, "hostchanged\n"), result.stderr)
            self.assertEqual(pathlib.Path(file.name).read_text(), "host")

    def test_time_limit_is_124(self):
        with tempfile.TemporaryDirectory() as directory:
            self.assertEqual(nested(directory, "sleep", "100", limit=1).returncode, 124)


if __name__ == "__main__":
    unittest.main()
