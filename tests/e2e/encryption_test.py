"""Guests on encrypted images: the secrets come from files and descriptors, qemu-img reads what they wrote."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import unittest

from support import ERROR, MIB, OK, REFUSED, USAGE, Disk, HullTest, domain_xml, pattern, qemu_img, sha256

SECTORS = 64
TOP, LOW = b"top secret of the overlay\n", b"the base has another one"


class Encryption(HullTest):
    def setUp(self):
        super().setUp()
        self.keys = {}
        for name, secret in (("top", TOP), ("low", LOW), ("wrong", b"none of them")):
            self.keys[name] = self.directory / f"{name}.key"
            self.keys[name].write_bytes(secret)

    def objects(self):
        return [word for name, path in self.keys.items() for word in ("--object", f"secret,id={name},file={path}")]

    def encrypted(self, name, key, backing=(), size=4 * MIB):
        # qemu-img now and then fails to measure how long a few iterations take.
        path = self.directory / name
        made = self.hull("img", "create", "-q", "-f", "qcow2", *self.objects(), "-o",
                         f"encrypt.format=luks,encrypt.key-secret={key},encrypt.iter-time=10", *backing, path, size)
        self.assertEqual(made.code, OK, made)
        return path

    def chain(self):
        """An encrypted overlay of an encrypted base that holds the pattern with seed 100."""
        base, raw = self.encrypted("base.qcow2", "low"), self.raw("base.raw", data=pattern(0, SECTORS, 100))
        qemu_img("convert", "-n", *self.objects(), "--image-opts", "--target-image-opts", f"driver=raw,file.filename={raw.path}",
                 f"driver=qcow2,file.filename={base},encrypt.key-secret=low")
        return self.encrypted("overlay.qcow2", "top", ["-u", "-b", base, "-F", "qcow2"]), base

    def secrets(self, *names):
        return [word for name in names for word in ("--secret", f"{name}=file:{self.keys[name]}")]

    def contents(self, path, key, below=""):
        raw = self.directory / "contents.raw"
        backing = f",backing.encrypt.key-secret={below}" if below else ""
        qemu_img("convert", *self.objects(), "--image-opts", "-O", "raw",
                 f"driver=qcow2,file.filename={path},encrypt.key-secret={key}{backing}", raw)
        return raw.read_bytes()

    def expect_written(self, overlay, base, before):
        """The guest's sectors 32 to 95 have seed 7, the rest is the base's; and none of it is in the clear."""
        self.assertEqual(self.contents(overlay, "top", "low"),
                         pattern(0, 32, 100) + pattern(32, 64, 7) + bytes(4 * MIB - 96 * 512))
        self.assertEqual(sha256(base), before)
        self.assertNotIn(pattern(32, 1, 7)[:64], overlay.read_bytes())
        qemu_img("check", "-q", *self.objects(), "--image-opts", f"driver=qcow2,file.filename={overlay},encrypt.key-secret=top,backing.encrypt.key-secret=low")

    AGENDA = "blk.verify,count=64,seed=100;blk.fill,start=32,count=64,seed=7;blk.flush;blk.verify,start=32,count=64,seed=7"

    def test_overlay_and_base_by_options(self):
        overlay, base = self.chain()
        before = sha256(base)
        disk = Disk(overlay, "qcow2", **{"encrypt.key-secret": "top", "backing.encrypt.key-secret": "low"})
        self.expect_success(self.run_guest(self.AGENDA, [disk], *self.secrets("top", "low")))
        self.expect_written(overlay, base, before)

    def test_overlay_and_base_by_document(self):
        overlay, base = self.chain()
        before = sha256(base)
        uuid = "2F6D3C1E-59A0-4F0E-8B7A-1D2C3B4A5F60"
        disk = (f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{overlay}'/><target dev='vda' bus='virtio'/>"
                f"<encryption format='luks'><secret type='passphrase' uuid='{uuid}'/></encryption>"
                f"<backingStore type='file'><format type='qcow2'/><source file='{base}'>"
                "<encryption format='luks'><secret type='passphrase' usage='base of web'/></encryption></source><backingStore/></backingStore></disk>")
        result = self.run_xml(domain_xml(cmdline=f"hull.do={self.AGENDA}", devices=disk),
                              "--secret", f"{uuid.lower()}=file:{self.keys['top']}", "--secret", f"base of web=file:{self.keys['low']}")
        self.expect_success(result)
        self.expect_written(overlay, base, before)

    def test_secret_from_a_descriptor(self):
        path = self.encrypted("disk.qcow2", "top")
        disk = Disk(path, "qcow2", **{"encrypt.key-secret": "k"})
        reader, writer = os.pipe()
        os.write(writer, TOP)
        os.close(writer)
        command = self.command(*self.guest_arguments("blk.fill,count=8,seed=3", [disk], "--secret", f"k=fd:{reader}"))
        result = subprocess.run(command, pass_fds=[reader], capture_output=True, stdin=subprocess.DEVNULL, check=False)
        os.close(reader)
        self.assertEqual(result.returncode, OK, result)
        self.assertEqual(self.contents(path, "top")[: 8 * 512], pattern(0, 8, 3))

    def test_image_verbs_take_secrets_from_descriptors(self):
        path = self.encrypted("disk.qcow2", "top")
        reader, writer = os.pipe()
        os.write(writer, TOP)
        os.close(writer)
        command = self.command("img", "compare", "--object", f"secret,id=k,file=/dev/fd/{reader}", "--image-opts",
                               f"driver=qcow2,file.filename={path},encrypt.key-secret=k", f"driver=raw,file.filename={self.raw().path}")
        result = subprocess.run(command, pass_fds=[reader], capture_output=True, check=False)
        os.close(reader)
        self.assertEqual(result.returncode, OK, result)

    def names(self, path, *keys):
        """As --image-opts have it, with the keys of the image and of those below."""
        below = ["backing." * level + f"encrypt.key-secret={key}" for level, key in enumerate(keys) if key]
        return [*self.objects(), "--image-opts", ",".join(["driver=qcow2", f"file.filename={path}", *below])]

    def test_growing_over_a_longer_encrypted_base_hides_it(self):
        base = self.encrypted("base.qcow2", "low")
        target = f"driver=qcow2,file.filename={base},encrypt.key-secret=low"
        raw = self.raw("base.raw", data=pattern(0, 4 * MIB // 512, 100))
        qemu_img("convert", "-n", *self.objects(), "--image-opts", "--target-image-opts", f"driver=raw,file.filename={raw.path}", target)
        for image, key in (("plain.qcow2", ""), ("overlay.qcow2", "top")):
            path = self.directory / image
            if key:
                self.encrypted(image, key, ["-u", "-b", base, "-F", "qcow2"], size=MIB)
            else:
                qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", path, MIB)
            refused = self.hull("img", "resize", "-f", "qcow2", path, "2M")
            self.assertEqual(refused.code, ERROR, refused)
            self.assertIn("encrypt.key-secret", refused.err)
            grown = self.hull("img", "resize", *self.names(path, key, "low"), "2M")
            self.assertEqual(grown.code, OK, grown)
            out = self.directory / "contents.raw"
            qemu_img("convert", *self.names(path, key, "low"), "-O", "raw", out)
            self.assertEqual(out.read_bytes(), pattern(0, MIB // 512, 100) + bytes(MIB))

    def test_commit_into_an_encrypted_base_that_grows(self):
        base = self.encrypted("base.qcow2", "low", size=MIB)
        overlay = self.encrypted("overlay.qcow2", "top", ["-u", "-b", base, "-F", "qcow2"], size=2 * MIB)
        raw = self.raw("new.raw", size=2 * MIB, data=pattern(0, 2 * MIB // 512, 5))
        qemu_img("convert", "-n", *self.objects(), "--image-opts", "--target-image-opts", f"driver=raw,file.filename={raw.path}",
                 f"driver=qcow2,file.filename={overlay},encrypt.key-secret=top,backing.encrypt.key-secret=low")
        committed = self.hull("img", "commit", *self.names(overlay, "top", "low"))
        self.assertEqual(committed.code, OK, committed)
        self.assertEqual(self.contents(base, "low"), pattern(0, 2 * MIB // 512, 5))
        self.assertNotIn(pattern(0, 1, 5)[:64], base.read_bytes())

    def test_safe_rebase_from_an_encrypted_base(self):
        overlay, base = self.chain()
        raw = self.raw("other.raw")
        rebased = self.hull("img", "rebase", *self.names(overlay, "top", "low"), "-b", raw.path, "-F", "raw")
        self.assertEqual(rebased.code, OK, rebased)
        base.unlink()
        self.assertEqual(self.contents(overlay, "top"), pattern(0, SECTORS, 100) + bytes(4 * MIB - SECTORS * 512))

    def test_nbd_serves_what_is_decrypted(self):
        overlay, base = self.chain()
        address, pid = self.directory / "nbd.sock", self.directory / "nbd.pid"
        before = sha256(base)
        served = self.hull("nbd", "--fork", "--pid-file", pid, "--socket", address, *self.names(overlay, "top", "low"))
        self.assertEqual(served.code, OK, served)
        url = f"nbd+unix:///?socket={address}"
        qemu_img("convert", "-n", "-f", "raw", "-O", "raw", self.raw("new.raw", data=pattern(0, 32, 100) + pattern(32, 64, 7)).path, url)
        self.wait_for(lambda: not pid.exists(), "the server to end")
        wanted = pattern(0, 32, 100) + pattern(32, 64, 7) + bytes(4 * MIB - 96 * 512)
        self.assertEqual(self.contents(overlay, "top", "low"), wanted)
        self.assertNotIn(pattern(32, 1, 7)[:64], overlay.read_bytes())
        self.assertEqual(sha256(base), before)

    def test_signal_while_the_key_is_derived(self):
        """Opening that takes a minute (40 million iterations) is ended by a signal at once, by whatever verb."""
        path = self.encrypted("slow.qcow2", "top")
        image = bytearray(path.read_bytes())
        first_slot = image.index(b"LUKS\xba\xbe") + 208
        image[first_slot + 4:first_slot + 8] = (40_000_000).to_bytes(4, "big")
        path.write_bytes(image)
        names = self.names(path, "top")
        for words in (["nbd", "--socket", self.directory / "nbd.sock", "--pid-file", self.directory / "nbd.pid", *names],
                      ["img", "convert", "-O", "raw", *names, self.directory / "out.raw"]):
            for number in (signal.SIGTERM, signal.SIGINT):
                with self.subTest(words=words[:2], signal=number):
                    process = subprocess.Popen(self.command(*words), stderr=subprocess.PIPE)
                    self.wait_for(lambda: path in self.open_files(process.pid), "the image to be opened")
                    process.send_signal(number)
                    self.assertEqual(process.wait(60), -number, process.stderr.read())
                    process.stderr.close()
        self.assertFalse((self.directory / "nbd.sock").exists())

    def open_files(self, pid):
        found = []
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(entry.readlink())
        return found

    def test_nbd_mistakes_with_secrets(self):
        path = self.encrypted("disk.qcow2", "top")
        serve = ("nbd", "--socket", self.directory / "nbd.sock")
        self.expect_error(self.hull(*serve, "-f", "qcow2", path), ERROR, "encrypted with LUKS")
        self.expect_error(self.hull(*serve, *self.names(path, "wrong")), REFUSED, "opens none of the LUKS key slots")
        self.expect_error(self.hull(*serve, *self.names(path, "nobody")), USAGE, "nobody")
        self.expect_error(self.hull(*serve, "-f", "qcow2", *self.names(path, "top")), USAGE, "mutually exclusive")
        self.expect_error(self.hull(*serve, "--object", "secret,id=k,data=abc", path), USAGE, "file=PATH")
        self.expect_error(self.hull(*serve, "--image-opts", f"file.filename={path}"), USAGE, "driver=")

    def test_missing_and_wrong_secrets_are_one_line(self):
        path = self.encrypted("disk.qcow2", "top")
        before = sha256(path)
        named = Disk(path, "qcow2", **{"encrypt.key-secret": "top"})
        missing = self.run_guest("blk.info", [named])
        self.expect_error(missing, USAGE, "disk vda", str(path), "--secret top=file:PATH", "--secret top=fd:N")
        wrong = self.run_guest("blk.info", [named], "--secret", f"top=file:{self.keys['wrong']}")
        self.expect_error(wrong, REFUSED, "disk vda", str(path), "opens none of the LUKS key slots")
        silent = self.run_guest("blk.info", [Disk(path, "qcow2")])
        self.expect_error(silent, ERROR, "disk vda", str(path), "encrypted with LUKS", "encrypt.key-secret")
        for result in (missing, wrong, silent):
            self.assertEqual(len(result.err.splitlines()), 1, result)
        self.assertEqual(sha256(path), before)

    def test_who_asks_for_encryption_does_not_write_in_the_clear(self):
        disk = self.qcow2(**{"encrypt.key-secret": "top"})
        self.expect_error(self.run_guest("blk.fill", [disk], *self.secrets("top")), REFUSED, "No encryption in image header")
        raw = self.raw(**{"encrypt.key-secret": "top"})
        self.expect_error(self.run_guest("blk.fill", [raw], *self.secrets("top")), REFUSED, "qcow2")

    def test_old_aes_is_only_read(self):
        path, raw = self.directory / "old.qcow2", self.raw(data=pattern(0, SECTORS, 100))
        # qemu-img makes none any more, but it still writes to those that there are.
        plain = self.qcow2("plain.qcow2").path.read_bytes()
        path.write_bytes(plain[:32] + (1).to_bytes(4, "big") + plain[36:])
        qemu_img("convert", "-n", *self.objects(), "--image-opts", "--target-image-opts", f"driver=raw,file.filename={raw.path}",
                 f"driver=qcow2,file.filename={path},encrypt.key-secret=low")
        options = {"encrypt.key-secret": "low", "encrypt.format": "aes"}
        before = sha256(path)
        self.expect_error(self.run_guest("blk.info", [Disk(path, "qcow2", **options)], *self.secrets("low")), ERROR, "AES")
        verify = "blk.verify,count=64,seed=100"
        self.expect_success(self.run_guest(verify, [Disk(path, "qcow2", readonly="on", **options)], *self.secrets("low")))
        self.expect_success(self.run_guest(f"{verify};blk.fill,seed=9", [Disk(path, "qcow2", **options)], "--ephemeral", *self.secrets("low")))
        self.assertEqual(sha256(path), before)

    def test_secret_is_neither_kept_nor_logged(self):
        path = self.encrypted("disk.qcow2", "top")
        disk = Disk(path, "qcow2", **{"encrypt.key-secret": "top"})
        process = self.start(*self.guest_arguments("blk.fill,seed=1", [disk], *self.secrets("top"), end="halt"))
        self.wait_for_line(process, "hull-guest: end")
        try:
            memory = read_memory(process.pid)
        except PermissionError as refused:
            self.skipTest(f"the memory of a process cannot be read here: {refused}")
        self.assertIn(b"hull-guest", memory, "nothing was read")
        self.assertNotIn(TOP.strip(), memory)
        for file in filter(os.path.isfile, self.state.rglob("*")):
            self.assertNotIn(TOP.strip(), file.read_bytes(), file)


def read_memory(pid):
    """All that a process has in its private memory."""
    pieces = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            start, end, flags = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
            if "r" not in flags or "[v" in line:
                continue
            try:
                memory.seek(int(start, 16))
                pieces.append(memory.read(int(end, 16) - int(start, 16)))
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise
    return b"".join(pieces)


if __name__ == "__main__":
    unittest.main()
