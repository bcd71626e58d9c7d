"""What the end-to-end tests share: running hull, describing domains, images and the small guest's pattern.

HULL names the program under test (default: build/release/tools/hull/hull). Only Python's standard library
and qemu-img, as an independent judge of images, are used.
"""

import array
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from xml.sax.saxutils import escape

ROOT = pathlib.Path(__file__).resolve().parents[2]
HULL = os.environ.get("HULL", str(ROOT / "build/release/tools/hull/hull"))
SECTOR = 512
MIB = 1 << 20
# Sanitizers and busy machines are slow; no test depends on how slow.
LIMIT = int(os.environ.get("HULL_TEST_LIMIT", "120"))

# Exit codes: the contract of hull(1).
OK, ERROR, USAGE, REFUSED, HOST, BUSY, CRASHED, INTERNAL, RESET, FORCED, TIMEOUT = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 124
DEBUG_EXIT_BASE = 64

_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def pattern(first_sector, count, seed=1):
    """The bytes that the small guest writes to these sectors (firmware/guest/README.md)."""
    first = first_sector * 64
    words = array.array("Q", ((seed + i * _STEP) & _MASK for i in range(first, first + count * 64)))
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def seed_of(sector, data):
    """The seed with which a sector was written, or None if it does not hold the pattern."""
    seed = (int.from_bytes(data[:8], "little") - sector * 64 * _STEP) & _MASK
    return seed if data == pattern(sector, 1, seed) else None


def random_write_sector(n, start, count):
    """The first sector of write number n of blk.random."""
    return start + 8 * ((n * 2654435761) % (count // 8))


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(file.read()).hexdigest()


def qemu_img(*arguments):
    result = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise AssertionError(f"qemu-img {' '.join(map(str, arguments))}: {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


class Disk:
    """An image file and how it is to be opened."""

    def __init__(self, path, image_format="raw", **options):
        self.path, self.format, self.options = pathlib.Path(path), image_format, options

    def argument(self):
        return ",".join([str(self.path), f"format={self.format}", *(f"{k}={v}" for k, v in self.options.items())])

    def xml(self, target):
        driver = "".join(f" {k}='{v}'" for k, v in self.options.items() if k in ("cache", "discard"))
        serial = f"<serial>{self.options['serial']}</serial>" if "serial" in self.options else ""
        readonly = "<readonly/>" if self.options.get("readonly") == "on" else ""
        return (f"<disk type='file' device='disk'><driver name='qemu' type='{self.format}'{driver}/><source file='{escape(str(self.path))}'/>"
                f"<target dev='{target}' bus='virtio'/>{readonly}{serial}</disk>")

    def contents(self):
        """The bytes that a guest sees, as qemu-img reads them."""
        if self.format == "raw":
            return self.path.read_bytes()
        with tempfile.TemporaryDirectory(dir=self.path.parent) as directory:
            raw = pathlib.Path(directory, "raw")
            qemu_img("convert", "-f", self.format, "-O", "raw", self.path, raw)
            return raw.read_bytes()

    def check(self):
        """Fails unless qemu-img finds no error and no leak."""
        if self.format == "qcow2":
            qemu_img("check", "-q", "-f", "qcow2", self.path)


def domain_xml(name="test", kernel="hull:guest", cmdline="", disks=(), memory_mib=64, vcpus=1, devices="", elements="", initrd=""):
    """A domain document as libvirt's users write it."""
    drives = "".join(disk.xml(f"vd{chr(ord('a') + i)}") for i, disk in enumerate(disks))
    start = f"<kernel>{escape(str(kernel))}</kernel>" if kernel else ""  # else a BIOS looks for one
    ramdisk = f"<initrd>{escape(initrd)}</initrd>" if initrd else ""
    return (f"<domain type='kvm'>\n  <name>{escape(name)}</name>\n  <memory unit='MiB'>{memory_mib}</memory>\n  <vcpu>{vcpus}</vcpu>\n"
            f"  <os><type arch='x86_64'>hvm</type>{start}{ramdisk}<cmdline>{escape(cmdline)}</cmdline></os>\n"
            f"  {elements}\n  <devices>{drives}{devices}</devices>\n</domain>\n")


class Result:
    """How a finished hull ended, and what it and the guest said."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    def __str__(self):
        return f"{' '.join(self.command)}\nexit code {self.code}\n--- output\n{self.out[-1500:]}\n--- errors\n{self.err[-1500:]}"

    def values(self, program):
        """The key=value pairs of the guest's lines about `program`."""
        pairs = {}
        for line in re.findall(rf"^hull-guest: {re.escape(program)} (.*)$", self.out, re.MULTILINE):
            pairs.update(word.split("=", 1) for word in line.split() if "=" in word)
        return pairs


class HullTest(unittest.TestCase):
    """A test with a directory of its own, in which hull keeps its files too."""

    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hull-e2e-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.state = self.directory / "state"

    # Running hull.

    def command(self, *arguments):
        words = [str(a) for a in arguments]
        if words[:1] == ["run"]:
            words[1:1] = ["--root", str(self.state)]
        return [HULL, *words]

    def hull(self, *arguments, limit=LIMIT, stdin=None, prefix=(), **options):
        """Runs hull to its end. `prefix`: words before the command, e.g. unshare."""
        command = [*map(str, prefix), *self.command(*arguments)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)
        try:
            out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            self.fail(f"hull did not end within {limit} s:\n{Result(command, 'none', out.decode(errors='replace'), err.decode(errors='replace'))}")
        return Result(command, process.returncode, out.decode(errors="replace").replace("\r\n", "\n"), err.decode(errors="replace"))

    def start(self, *arguments, limit=4 * LIMIT, **options):
        """Starts hull and returns the process, which is killed at the end of the test, or after `limit` seconds."""
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(self.command(*arguments), stdout=options.pop("stdout", subprocess.PIPE),
                                   stderr=options.pop("stderr", subprocess.PIPE), **options)
        guard = threading.Timer(limit, process.kill)
        guard.daemon = True
        guard.start()

        def stop():
            guard.cancel()
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()

        self.addCleanup(stop)
        return process

    def guest_arguments(self, agenda, disks=(), *options, end=None, words=""):
        cmdline = " ".join(w for w in [f"hull.do={agenda}" if agenda else "", f"hull.end={end}" if end else "", words] if w)
        return ["run", "--kernel", "hull:guest", "--memory", "64M", "--append", cmdline,
                *(word for disk in disks for word in ("--disk", disk.argument())), *options]

    def run_guest(self, agenda, disks=(), *options, end=None, words="", limit=LIMIT):
        """Boots the small guest, described by options; returns the result."""
        return self.hull(*self.guest_arguments(agenda, disks, *options, end=end, words=words), limit=limit)

    def run_xml(self, document, *options, limit=LIMIT, **more):
        path = self.directory / "domain.xml"
        path.write_text(document)
        return self.hull("run", path, *options, limit=limit, **more)

    # What is expected of a run.

    def expect_success(self, result):
        """The guest did its whole agenda and powered off."""
        self.assertEqual(result.code, OK, result)
        self.assertRegex(result.out, r"(?m)^hull-guest: end by=\w+ failed=0$", result)
        self.assertNotIn("hull-guest: FAIL", result.out, result)

    def expect_error(self, result, code, *words):
        """hull gave up with this code and a clear line that holds the words; it neither crashed nor chattered."""
        self.assertEqual(result.code, code, result)
        self.assertRegex(result.err, r"(?m)^error: ", result)
        self.assertLess(len(result.err.splitlines()), 25, result)
        for word in words:
            self.assertIn(word, result.err, result)
        self.expect_sane(result)

    def expect_sane(self, result):
        """No crash, no failed CHECK, no report of a sanitizer."""
        self.assertGreaterEqual(result.code, 0, result)
        self.assertNotEqual(result.code, INTERNAL, result)
        self.assertNotRegex(result.err, r"CHECK|Sanitizer|runtime error|terminate called|Assertion", result)

    def wait_for(self, condition, what, limit=LIMIT):
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                self.fail(f"waited {limit} s in vain for {what}")
            time.sleep(0.02)

    def wait_for_line(self, process, text):
        """Reads the process's output up to a line that contains the text; returns what was read."""
        seen = ""
        for line in process.stdout:
            seen += line.decode(errors="replace")
            if text in seen:
                return seen
        process.wait()
        self.fail(f"hull ended with {process.returncode} before it said '{text}':\n{seen}\n{process.stderr.read().decode() if process.stderr else ''}")

    # Images.

    def raw(self, name="disk.raw", size=4 * MIB, data=b"", **options):
        path = self.directory / name
        with path.open("wb") as file:
            file.write(data)
            file.truncate(size)
        return Disk(path, "raw", **options)

    def qcow2(self, name="disk.qcow2", size=4 * MIB, creation="", backing=None, **options):
        path = self.directory / name
        base = ["-b", backing.path, "-F", backing.format] if backing else []
        qemu_img("create", "-q", "-f", "qcow2", *(["-o", creation] if creation else []), *base, path, size)
        return Disk(path, "qcow2", **options)

    def overlay(self, base_sectors, name="overlay.qcow2", size=4 * MIB, creation="", base_format="qcow2", **options):
        """An overlay of a base whose first sectors hold the pattern with seed 100; returns (overlay, base)."""
        raw = self.raw(f"{name}.base.raw", size, pattern(0, base_sectors, 100))
        base = raw
        if base_format != "raw":
            base = Disk(self.directory / f"{name}.base.{base_format}", base_format)
            qemu_img("convert", "-f", "raw", "-O", base_format, raw.path, base.path)
        return self.qcow2(name, size, creation, base, **options), base

    def pid_file(self, name):
        return self.state / "run/qemu" / f"{name}.pid"

    def log_file(self, name):
        return self.state / "log/qemu" / f"{name}.log"
