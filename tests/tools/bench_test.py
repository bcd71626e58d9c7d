"""The benches run and report what their pages say, in their shortest form: figures are nobody's concern here."""

import json
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Bench(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)

    def report_of(self, program, *words):
        """The JSON of a run."""
        report = self.place / "report.json"
        done = subprocess.run([ROOT / "tests/bench" / program, *words, "--json", report], capture_output=True, text=True, check=False, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(report.read_text())

    def test_run(self):
        subprocess.run(["ninja", "-C", ROOT / "build/release", "bare_kvm"], check=True, capture_output=True, timeout=600)
        report = self.report_of("run", "--runs", "1", "--only", "start")
        self.assertIn("exec to first byte", json.dumps(report))

    def test_images(self):
        plot = self.place / "plot.svg"
        report = self.report_of("images", "--runs", "1", "--mib", "8", "--only", "convert,sparse,plot", "--svg", str(plot))
        self.assertIn("convert", json.dumps(report))
        self.assertIn("<svg", plot.read_text())


if __name__ == "__main__":
    unittest.main()
