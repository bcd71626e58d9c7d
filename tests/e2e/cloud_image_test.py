"""docs/guest-images.md, "A cloud image": its commands, on an image of the same shape (partitions, a file system with /boot)."""

import os
import re
import struct
import subprocess
import unittest

from support import HULL, LIMIT, MIB, ROOT, SECTOR, HullTest, qemu_img

IMAGE = "debian-12-genericcloud-amd64.qcow2"
START = 128 * MIB


@unittest.skipUnless(os.geteuid() == 0, "the page says: as root")
class CloudImage(HullTest):
    def commands(self):
        """The block that takes the kernel out of an image."""
        page = (ROOT / "docs/guest-images.md").read_text("utf-8")
        block = re.search(r"^    hull img info --contents .*\n(?:    .*\n)*", page, re.MULTILINE).group(0)
        return [re.sub(r"\s# .*", "", line).strip() for line in block.splitlines()]

    def make_image(self):
        boot = self.directory / "tree/boot"
        boot.mkdir(parents=True)
        (boot / "vmlinuz-6.1.0-cloud-amd64").write_text("a kernel")
        (boot / "initrd.img-6.1.0-cloud-amd64").write_text("its initrd")
        disk = self.raw("disk.raw", START + 16 * MIB)
        entry = struct.pack("<B3xB3xII", 0x80, 0x83, START // SECTOR, 14 * MIB // SECTOR)
        with disk.path.open("r+b") as file:
            file.seek(446)
            file.write(entry + bytes(48) + b"\x55\xaa")
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", "-d", boot.parent, "-E", f"offset={START}", disk.path, "14M"], check=True, capture_output=True)
        qemu_img("convert", "-O", "qcow2", disk.path, self.directory / IMAGE)

    def test_kernel_and_initrd_come_out(self):
        self.make_image()
        before = (self.directory / IMAGE).read_bytes()
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "hull").symlink_to(HULL)
        look, *rest = self.commands()
        self.assertEqual([command.split()[0] for command in (look, *rest)], ["hull", "hull", "mount", "cp"])
        # What is mounted goes with the namespace, and its loop device with it.
        result = subprocess.run(["unshare", "--mount", "bash", "-c", "\n".join(["set -e", f"{look} >contents", *rest])], cwd=self.directory, check=False,
                                env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}:/sbin:/usr/sbin"},
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex((self.directory / "contents").read_text(), r"at 128 MiB.*: ext4")
        self.assertEqual((self.directory / "vmlinuz").read_text(), "a kernel")
        self.assertEqual((self.directory / "initrd.img").read_text(), "its initrd")
        self.assertEqual((self.directory / IMAGE).read_bytes(), before, "it stays as it came")


if __name__ == "__main__":
    unittest.main()
