"""The same damaged image before `hull img` and qemu-img: what they say of it must agree.

A few images that qemu-img makes are the start: several cluster sizes and refcount widths, extended L2 entries,
compressed and zero clusters, snapshots, bitmaps, a backing file. A seed chooses one and changes one or two places of
it that mean something: fields of the header and its extensions, entries of L1, L2 and refcount tables, refcounts,
fields of the snapshot table, of the bitmap directory and of bitmap tables. Then for `info`, `check` and `convert`:

* both refuse, or both accept with the same contents and the same numbers of corruptions and leaks;
* where they differ, DIFFERENCES says why; a difference that it does not know fails the test;
* hull never dies of a signal, never calls itself broken, takes no longer than LIMIT, and changes nothing.

HULL_LONG_TESTS=N runs N times as many seeds; HULL_SEEDS=FIRST-LAST runs those.
"""

import json
import os
import random
import struct
import subprocess
import unittest

from support import HULL, LIMIT, HullTest, qemu_img, sha256

SIZE = 1 << 20
OFFSET = 0x00FFFFFFFFFFFE00
SEEDS = 60
GEOMETRIES = [
    "compat=1.1,cluster_size=512,refcount_bits=16", "compat=1.1,cluster_size=4096,refcount_bits=16",
    "compat=1.1,cluster_size=4096,refcount_bits=64", "compat=1.1,cluster_size=65536,refcount_bits=16",
    "compat=1.1,cluster_size=16384,refcount_bits=8,extended_l2=on", "compat=0.10,cluster_size=4096",
    "compat=1.1,cluster_size=4096,refcount_bits=16,lazy_refcounts=on", "compat=1.1,cluster_size=1024,refcount_bits=2",
]

# Deliberate differences: (verbs, a predicate of the results of qemu-img and hull, the reason).
DIFFERENCES = [
    ("convert", lambda q, h: q.code == 0 and "the L2 entry of guest offset" in h.text,
     "for hull an entry that points into the header or a table is damage; qemu-img gives the table out as guest data"),
    ("info convert", lambda q, h: h.code == 0 and "itmap" in q.text,
     "damaged bitmaps do not keep hull from the guest's data and the rest of what info tells"),
    ("info convert", lambda q, h: h.code == 0 and "napshot" in q.text, "nor does a damaged snapshot table"),
    ("info convert", lambda q, h: h.code == 0 and ("refcount table" in q.text or "reference count table" in q.text.lower()),
     "nor a refcount table that cannot be where the header says: only who writes needs it"),
    ("check", lambda q, h: q.code == 1 and h.code == 2,
     "what qemu-img cannot open or read to the end, hull reports as errors of the image"),
    ("info check convert", lambda q, h: h.code == 1 and "which is the header itself" in h.text,
     "no table can lie at offset 0"),
    ("check", lambda q, h: q.code in (0, 3) and "has the zero flag, which such an image does not know" in h.messages,
     "so is a zero cluster in version 2 damage; for qemu-img only when it reads the data"),
    ("info check convert", lambda q, h: "snapshot table offset invalid" in q.text.lower(),
     "where the table has no entries, hull does not mind where it would be"),
    ("info check convert", lambda q, h: "data-file-raw requires a data file" in q.text,
     "an autoclear bit that means nothing does no harm: the first write clears it"),
    ("check", lambda q, h: h.code == 2 and ("snapshot table" in h.messages or "napshots" in h.messages),
     "what a snapshot table that lies may have is not called leaked: who frees that loses the snapshot"),
    ("info check convert", lambda q, h: h.code == 1 and "header_length (byte 100)" in h.text, "the format demands a multiple of 8"),
    ("check", lambda q, h: q.code == 0 and h.code == 3 and h.counts == (0, 1, 0),
     "hull also counts the cluster right behind the end of the file, into which compressed data may reach"),
    ("check", lambda q, h: q.code == h.code == 2,
     "one error hides others: which of them count depends on the order in which one looks"),
]


class Result:
    def __init__(self, process):
        self.code, self.text = process.returncode, process.stderr
        try:
            self.json = json.loads(process.stdout) if process.stdout.startswith("{") else {}
        except json.JSONDecodeError:
            self.json = {}
        self.counts = (self.json.get("corruptions", 0), self.json.get("leaks", 0), self.json.get("check-errors", 0))


class Image:
    """The bytes of an image, and where the parts of it are."""

    def __init__(self, data):
        self.data = bytearray(data)
        self.cluster = 1 << self.get(">I", 20)

    def get(self, form, at):
        return struct.unpack_from(form, self.data, at)[0]

    def put(self, form, at, value):
        struct.pack_into(form, self.data, at, value & ((1 << 8 * struct.calcsize(form)) - 1))

    def inside(self, at):
        return 0 < at <= len(self.data) - self.cluster

    def extensions(self):
        at = 72 if self.get(">I", 4) == 2 else self.get(">I", 100)
        while at + 8 <= self.cluster and self.get(">I", at) != 0:
            yield self.get(">I", at), at + 8, self.get(">I", at + 4)
            at += 8 + (self.get(">I", at + 4) + 7) // 8 * 8

    def tables(self):
        """(kind, offset, entries) of each table of 64-bit words."""
        l1 = self.get(">Q", 40), min(self.get(">I", 36), 64)
        if not self.inside(l1[0]) or not self.inside(self.get(">Q", 48)) or not l1[1]:
            return
        yield "L1", *l1
        for i in range(l1[1]):
            table = self.get(">Q", l1[0] + 8 * i) & OFFSET
            if self.inside(table):
                yield "L2", table, self.cluster // 8
        refcounts = self.get(">Q", 48)
        yield "refcount table", refcounts, min(self.cluster // 8, 16)
        snapshots = self.get(">Q", 64)
        if self.get(">I", 60) and self.inside(snapshots) and self.inside(self.get(">Q", snapshots)):
            yield "snapshot L1", self.get(">Q", snapshots), self.get(">I", snapshots + 8)

    def bitmaps(self):
        for kind, at, length in self.extensions():
            if kind == 0x23852875 and length >= 24 and self.inside(self.get(">Q", at + 16)) and \
                    self.inside(self.get(">Q", self.get(">Q", at + 16))):
                return at, self.get(">Q", at + 16)
        return None, None


HEADER_FIELDS = [(4, ">I"), (8, ">Q"), (16, ">I"), (20, ">I"), (24, ">Q"), (32, ">I"), (36, ">I"), (40, ">Q"), (48, ">Q"),
                 (56, ">I"), (60, ">I"), (64, ">Q")]
HEADER_FIELDS_3 = [(72, ">Q"), (80, ">Q"), (88, ">Q"), (96, ">I"), (100, ">I"), (104, ">B")]
SNAPSHOT_FIELDS = [(0, ">Q"), (8, ">I"), (12, ">H"), (14, ">H"), (32, ">I"), (36, ">I"), (40, ">Q"), (48, ">Q")]
BITMAP_FIELDS = [(0, ">Q"), (8, ">I"), (12, ">I"), (16, ">B"), (17, ">B"), (18, ">H"), (20, ">I")]


def near(source, image, value, bits):
    """A value for a field that had another: often one that nearly fits."""
    cluster = image.cluster
    return source.choice([
        0, 1, value + 1, value - 1, value ^ 1 << source.randrange(bits), value + cluster, value - cluster, value * 2,
        image.get(">Q", 40), image.get(">Q", 48), len(image.data) // cluster * cluster, source.getrandbits(bits), (1 << bits) - 1])


def entry_near(source, image, value):
    """The same for an entry of a table."""
    end = len(image.data) // image.cluster * image.cluster
    place = source.choice([image.get(">Q", 40), image.get(">Q", 48), end, end + image.cluster, 512, 0,
                           source.randrange(end // image.cluster) * image.cluster])
    return source.choice([
        0, value ^ 1 << 63, value ^ 1, value ^ 1 << 62, value ^ 1 << source.randrange(64), value + image.cluster, value + 512,
        place | 1 << 63, place, place | 1 << 62, source.getrandbits(64)])


def change_field(source, image, kind, base, fields):
    at, form = source.choice(fields)
    value = near(source, image, image.get(form, base + at), 8 * struct.calcsize(form))
    image.put(form, base + at, value)
    return f"{kind} field {at} = {image.get(form, base + at):#x}"


def change_entry(source, image, kind, offset, entries):
    used = [i for i in range(entries) if image.get(">Q", offset + 8 * i)]
    index = source.choice(used) if used and source.random() < 0.85 else source.randrange(entries)
    value = entry_near(source, image, image.get(">Q", offset + 8 * index))
    # COPIED alone is no table, for hull and for a guest in either; only `qemu-img check` takes the header for one.
    if "L1" in kind and value & OFFSET == 0:
        value = 0
    image.put(">Q", offset + 8 * index, value)
    return f"{kind}[{index}] at {offset:#x} = {value & (1 << 64) - 1:#x}"


def change_refcount(source, image):
    block = image.get(">Q", image.get(">Q", 48))
    bits = 1 << (image.get(">I", 96) if image.get(">I", 4) >= 3 else 4)
    at = source.randrange(len(image.data) // image.cluster + 2) * bits // 8
    if at >= image.cluster:
        at = 0
    form = {16: ">H", 32: ">I", 64: ">Q"}.get(bits, ">B")
    value = source.choice([0, 1, 2, 3, image.get(form, block + at) + 1, source.getrandbits(8)])
    image.put(form, block + at, value)
    return f"refcount at {block + at:#x} = {value:#x}"


def damage(source, image):
    choices = [lambda: change_field(source, image, "header", 0, HEADER_FIELDS), lambda: change_refcount(source, image)]
    if image.get(">I", 4) >= 3:
        choices.append(lambda: change_field(source, image, "header", 0, HEADER_FIELDS_3))
    for table in image.tables():
        choices.append(lambda table=table: change_entry(source, image, *table))
    snapshots = image.get(">Q", 64)
    if image.get(">I", 60) and image.inside(snapshots):
        choices.append(lambda: change_field(source, image, "snapshot", snapshots, SNAPSHOT_FIELDS))
    extension, directory = image.bitmaps()
    if extension is not None:
        choices += [lambda: change_field(source, image, "bitmaps extension", extension, [(0, ">I"), (4, ">I"), (8, ">Q"), (16, ">Q")]),
                    lambda: change_field(source, image, "bitmap", directory, BITMAP_FIELDS),
                    lambda: change_entry(source, image, "bitmap table", image.get(">Q", directory), 1)]
    try:
        return source.choice(choices)()
    except (struct.error, OverflowError):
        return "nothing"  # an earlier change has taken the place away


class Differential(HullTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.templates = {}

    def make_template(self, options, number):
        """Made once for each geometry: different clusters of every kind."""
        source = random.Random(number)
        image = self.directory / "template"
        cluster = int(options.split("cluster_size=")[1].split(",")[0])
        qemu_img("create", "-q", "-f", "qcow2", "-o", options, image, SIZE)
        commands = []
        for i in range(5):
            offset = source.randrange(SIZE // 512) * 512
            length = min(source.randrange(1, 60) * 512, SIZE - offset)
            commands += ["-c", f"write -P {i + 1} {offset} {length}"]
        if "compat=1.1" in options:
            commands += ["-c", f"write -z {SIZE // 2} {4 * cluster if cluster < 16384 else cluster}"]
        if "refcount_bits=2" not in options:
            commands += ["-c", f"write -c -P 77 {SIZE // 4} {cluster}", "-c", f"write -c -P 78 {SIZE // 4 + cluster} {cluster}"]
        # A compressed write to what is allocated already fails.
        subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *commands, str(image)], check=False, capture_output=True)
        if number % 2 == 0:
            qemu_img("snapshot", "-c", "one", image)
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 0 30000", str(image)], check=True, capture_output=True)
        elif "compat=1.1" in options:
            qemu_img("bitmap", "--add", image, "b0")
            qemu_img("bitmap", "--add", "--disable", image, "b1")
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 0 30000", str(image)], check=True, capture_output=True)
        data = image.read_bytes()
        image.unlink()
        return data

    def both(self, *arguments):
        results = []
        for command in (["qemu-img"], [HULL, "img"]):
            process = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False,
                                     timeout=LIMIT)
            results.append(Result(process))
        return results

    def compare(self, verb, what, qemu, hull, equal=True):
        self.assertIn(hull.code, (0, 1, 2, 3, 63), hull.text)
        self.assertNotIn("internal error", hull.text)
        if equal and (qemu.code == hull.code or verb != "check" and (qemu.code == 0) == (hull.code == 0)) \
                and (verb != "check" or qemu.counts == hull.counts):
            return
        hull.messages = self.explain()
        if equal and any(verb in verbs.split() and applies(qemu, hull) for verbs, applies, _ in DIFFERENCES):
            return
        self.fail(f"{verb} after {what}: qemu-img {qemu.code} {qemu.counts}, hull {hull.code} {hull.counts}, contents "
                  f"{'equal' if equal else 'differ'}\nqemu-img: {qemu.text[-600:]}\nhull: {hull.text[-600:]}\n{hull.messages[:600]}")

    def explain(self):
        """What hull's check says to a person."""
        text = subprocess.run([HULL, "img", "check", "-f", "qcow2", str(self.path)], capture_output=True, text=True, errors="replace", check=False)
        return text.stderr

    def run_seed(self, seed):
        source = random.Random(seed)
        number = source.randrange(len(GEOMETRIES))
        if number not in self.templates:
            self.templates[number] = self.make_template(GEOMETRIES[number], number)
        image = Image(self.templates[number])
        what = ", ".join(damage(source, image) for _ in range(source.choice([1, 1, 1, 2])))
        path = self.path = self.directory / f"{seed}.qcow2"
        path.write_bytes(image.data)
        with self.subTest(seed=seed, geometry=GEOMETRIES[number], damage=what):
            before = sha256(path)
            self.compare("info", what, *self.both("info", "-f", "qcow2", "--output=json", path))
            self.compare("check", what, *self.both("check", "-f", "qcow2", "--output=json", path))
            self.compare_contents(what, path)
            self.assertEqual(sha256(path), before, "a verb that only looks has changed the image")
        path.unlink()

    @staticmethod
    def same_bytes(qemu, hull):
        """Of a disk whose size is no multiple of 512 qemu-img cuts the rest off, and hull fills it up."""
        sizes = qemu.stat().st_size, hull.stat().st_size
        return 0 <= sizes[1] - sizes[0] <= 512 and \
            subprocess.run(["cmp", "-s", "-n", str(sizes[0]), str(qemu), str(hull)], check=False).returncode == 0

    def compare_contents(self, what, path):
        outs, results = [self.directory / "qemu.raw", self.directory / "hull.raw"], []
        for command, out in zip((["qemu-img"], [HULL, "img"]), outs):
            # Damage can make a disk of many terabytes.
            process = subprocess.run(["prlimit", "--fsize=8589934592", *command, "convert", "-f", "qcow2", "-O", "raw", str(path), str(out)],
                                     capture_output=True, text=True, errors="replace", check=False, timeout=LIMIT)
            results.append(Result(process))
        equal = results[0].code != 0 or results[1].code != 0 or self.same_bytes(*outs)
        for out in outs:
            out.unlink(missing_ok=True)
        self.compare("convert", what, *results, equal)

    def test_damaged_images_look_alike(self):
        first, last = 1, SEEDS * max(1, int(os.environ.get("HULL_LONG_TESTS", "1")))
        if "HULL_SEEDS" in os.environ:
            first, last = map(int, os.environ["HULL_SEEDS"].split("-"))
        for seed in range(first, last + 1):
            self.run_seed(seed)


if __name__ == "__main__":
    unittest.main()
