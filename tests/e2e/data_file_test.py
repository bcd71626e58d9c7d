"""Images whose data is in an external file: the verbs do what qemu-img does, on twins of one image."""

import json
import os
import random
import subprocess
import unittest

from support import HULL, LIMIT, MIB, OK, HullTest, qemu_img

ROUNDS = 2 * max(1, int(os.environ.get("HULL_LONG_TESTS", "1")))
STEPS = 8
AMENDMENTS = ["lazy_refcounts=on", "lazy_refcounts=off", "refcount_bits=8", "refcount_bits=64", "compat=0.10", "compat=1.1",
              "data_file=data", "data_file_raw=on", "data_file_raw=off", "size=3M", "backing_file=base,backing_fmt=raw"]


class DataFile(HullTest):
    """Both twins have the same names, in directories of their own."""

    def setUp(self):
        super().setUp()
        self.twins = [self.directory / "qemu", self.directory / "hull"]
        self.history = []

    def each(self, *arguments):
        """With the verbs of qemu-img in one directory and those of hull in the other."""
        self.history.append(" ".join(map(str, arguments)))
        results = []
        for command, where in zip((["qemu-img"], [HULL, "img"]), self.twins):
            results.append(subprocess.run([*command, *map(str, arguments)], cwd=where, capture_output=True, text=True, check=False, timeout=LIMIT))
        qemu, hull = results
        self.assertEqual((qemu.returncode == 0), (hull.returncode == 0), f"{self.history}\nqemu-img: {qemu.stderr}\nhull: {hull.stderr}")
        return qemu, hull

    def write(self, image, *commands):
        self.history += commands
        for where in self.twins:
            words = [word for command in commands for word in ("-c", command)]
            subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, image], cwd=where, check=True, capture_output=True, timeout=LIMIT)

    def make(self, options, source):
        self.history = []
        for where in self.twins:
            where.mkdir(exist_ok=True)
            for file in where.iterdir():
                file.unlink()
        base = source.randbytes(MIB // 2)
        for where in self.twins:
            (where / "base").write_bytes(base)
            qemu_img("create", "-q", "-f", "raw", where / "other", MIB)
        backing = ["-b", "base", "-F", "raw"] if "raw=off" in options and source.random() < 0.6 else []
        for where in self.twins:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, "-o", f"data_file=data,{options}", "image", str(MIB)],
                           cwd=where, check=True, timeout=LIMIT)
        self.scribble(source)

    def facts(self, where):
        text = subprocess.run(["qemu-img", "info", "-f", "qcow2", "--output=json", "image"], cwd=where, check=True, capture_output=True, timeout=LIMIT)
        info = json.loads(text.stdout)
        return {key: info.get(key) for key in ("virtual-size", "backing-filename", "backing-filename-format", "format-specific")}

    def expect_twins(self):
        message = str(self.history)
        qemu, hull = self.twins
        for words in ("check -q -f qcow2 image", "convert -f qcow2 -O raw image contents"):
            for where in self.twins:
                done = subprocess.run(["qemu-img", *words.split()], cwd=where, capture_output=True, text=True, check=False, timeout=LIMIT)
                self.assertEqual(done.returncode, 0, f"{message}\n{where.name}: {words}: {done.stderr}{done.stdout}")
        contents = (hull / "contents").read_bytes()
        self.assertTrue((qemu / "contents").read_bytes() == contents, message)
        facts = self.facts(hull)
        self.assertEqual(self.facts(qemu), facts, message)
        # With reserved space qemu-img makes whole clusters of it.
        sizes = [(where / "data").stat().st_size for where in self.twins]
        self.assertTrue(sizes[1] <= sizes[0] < sizes[1] + 65536, f"{sizes}: {message}")
        if facts["format-specific"]["data"].get("data-file-raw"):
            self.assertTrue((hull / "data").read_bytes()[: len(contents)] == contents, message)

    def size(self):
        return self.facts(self.twins[0])["virtual-size"]

    def scribble(self, source):
        commands = []
        for _ in range(3):
            offset = source.randrange(self.size() // 512) * 512
            length = min(source.randrange(1, 400) * 512, self.size() - offset)
            commands.append(source.choice(["write -P {seed}", "write -P {seed}", "write -z", "write -zu", "discard"]).format(seed=source.randrange(1, 256))
                            + f" {offset} {length}")
        self.write("image", *commands)

    def step(self, source):
        verb = source.choice(["grow", "grow", "shrink", "rebase", "commit into", "commit", "amend", "bitmap", "snapshot", "look"])
        if verb == "grow":
            mode = source.choice(["off", "off", "metadata", "falloc", "full"])
            # qemu-img leaves images with a backing file alone if space is to be reserved.
            if self.facts(self.twins[0])["backing-filename"]:
                mode = "off"
            self.each("resize", "-f", "qcow2", f"--preallocation={mode}", "image", f"+{source.randrange(1, 1000) * 512}")
        elif verb == "shrink":
            self.each("resize", "-f", "qcow2", "--shrink", "image", source.randrange(1, self.size() // 512 + 1) * 512)
        elif verb == "rebase":
            unsafe = ["-u"] if source.random() < 0.2 else []
            target = source.choice([["-b", "base", "-F", "raw"], ["-b", "other", "-F", "raw"], ["-b", ""]])
            self.each("rebase", "-f", "qcow2", *unsafe, *target, "image")
        elif verb == "commit into":
            size = self.size() + source.choice([0, 0, 65536])
            self.each("create", "-q", "-f", "qcow2", "-b", "image", "-F", "qcow2", "over", size)
            offset = source.randrange(size // 512) * 512
            self.write("over", f"write -P 99 {offset} {min(65536, size - offset)}")
            self.each("commit", "-f", "qcow2", "over")
        elif verb == "commit":
            self.each("commit", "-f", "qcow2", *source.choice([[], ["-d"]]), "image")
        elif verb == "amend":
            self.each("amend", "-f", "qcow2", "-o", source.choice(AMENDMENTS), "image")
        elif verb == "bitmap":
            self.each("bitmap", "-f", "qcow2", source.choice(["--add", "--clear", "--disable"]), "image", "b0")
            self.each("bitmap", "-f", "qcow2", "--remove", "image", "b0")
        elif verb == "snapshot":
            self.each("snapshot", source.choice(["-c", "-a", "-d"]), "one", "image")
        else:
            self.look()

    def look(self):
        qemu, hull = self.each("check", "-f", "qcow2", "image")
        self.assertEqual(qemu.stdout.splitlines()[0], hull.stdout.splitlines()[0], self.history)
        # hull sees holes of the data file where qemu-img does not look for them.
        self.each("map", "-f", "qcow2", "image")
        self.each("measure", "-f", "qcow2", "-O", "qcow2", "image")
        self.each("dd", "-f", "qcow2", "-O", "raw", "bs=64k", "count=5", "if=image", "of=part")
        self.assertEqual(*((where / "part").read_bytes() for where in self.twins), self.history)

    def test_twins_stay_alike(self):
        for options in ("data_file_raw=off", "data_file_raw=on", "data_file_raw=off,cluster_size=4k", "data_file_raw=on,cluster_size=4k,lazy_refcounts=on"):
            for seed in range(ROUNDS):
                source = random.Random(f"{options} {seed}")
                with self.subTest(options=options, seed=seed):
                    self.make(options, source)
                    for _ in range(STEPS):
                        self.step(source)
                        self.expect_twins()
                        if source.random() < 0.5:
                            self.scribble(source)
                            self.expect_twins()

    def test_refusals_say_why(self):
        self.make("data_file_raw=on", random.Random(1))
        _, hull = self.each("snapshot", "-c", "one", "image")
        self.assertIn("external data file", hull.stderr)
        _, hull = self.each("rebase", "-u", "-b", "base", "-F", "raw", "image")
        self.assertIn("raw data file", hull.stderr)
        (self.twins[1] / "data").unlink()
        gone = self.hull("img", "resize", "-f", "qcow2", self.twins[1] / "image", "+1M")
        self.assertNotEqual(gone.code, OK)
        self.assertIn("data file", gone.err)


if __name__ == "__main__":
    unittest.main()
