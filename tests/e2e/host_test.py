"""What the host lacks or refuses: no KVM, no permission, no tun, a full disk, a disk that fails.

Some tests need root, for a mount namespace of their own; as an ordinary user they use a user namespace.
"""

import os
import pathlib
import subprocess
import unittest

from support import ERROR, HOST, MIB, OK, REFUSED, Disk, HullTest, pattern

UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def in_namespace(script):
    """Words that run a command behind `script` in a mount namespace."""
    return [*UNSHARE, "sh", "-c", script + '\nexec "$@"', "sh"]


class MissingFacilities(HullTest):
    def test_no_kvm(self):
        hide = in_namespace("mount -t tmpfs none /dev")
        result = self.hull(*self.guest_arguments("facts"), prefix=hide)
        self.expect_error(result, HOST, "/dev/kvm")

    def test_kvm_is_something_else(self):
        result = self.hull(*self.guest_arguments("facts"), prefix=in_namespace("mount --bind /dev/null /dev/kvm"))
        self.assertIn(result.code, (ERROR, HOST), result)
        self.expect_error(result, result.code, "KVM")

    @unittest.skipUnless(os.geteuid() == 0, "an ordinary user has the permission or tests nothing")
    def test_no_permission(self):
        self.directory.chmod(0o777)
        hull = self.directory / "hull"
        hull.write_bytes(pathlib.Path(self.command()[0]).read_bytes())
        hull.chmod(0o755)
        self.state.mkdir(mode=0o777)
        self.state.chmod(0o777)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(hull), *self.command(*self.guest_arguments("facts"))[1:]]
        mode = os.stat("/dev/kvm").st_mode & 0o777
        if mode & 0o006:
            self.fail("this test needs a /dev/kvm that is not open to everybody")
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(result.returncode, HOST, result.stderr)
        self.assertRegex(result.stderr, r"(?m)^error: .*/dev/kvm.*[Pp]ermission")

    def test_no_tun(self):
        hide = in_namespace("mount -t tmpfs none /dev/net")
        result = self.hull(*self.guest_arguments("facts", (), "--net", "tap"), prefix=hide)
        self.expect_error(result, HOST, "tun")

    def test_interface_that_is_no_tap(self):
        result = self.hull(*self.guest_arguments("facts", (), "--net", "tap,ifname=lo"))
        self.expect_error(result, REFUSED, "lo", "no tap")

    def test_state_directory_cannot_be_made(self):
        result = self.hull("run", "--kernel", "hull:guest", "--root", "/proc/none")
        self.assertNotEqual(result.code, OK, result)
        self.expect_sane(result)


class FailingDisks(HullTest):
    """The guest gets I/O errors; the virtual machine lives; the image stays consistent."""

    def run_on_small_disk(self, disk, agenda):
        """Runs with `small` in the test's directory being a file system of 2 MiB."""
        small = self.directory / "small"
        small.mkdir()
        keep = self.directory / "kept"
        script = (f"mount -t tmpfs -o size=2m none {small} && cp --sparse=always {disk.path} {small}/ || exit 99\n"
                  f'"$@"; status=$?; cp {small}/{disk.path.name} {keep} || exit 98; exit $status')
        inside = Disk(small / disk.path.name, disk.format)
        result = self.hull(*self.guest_arguments(agenda, [inside]), prefix=[*UNSHARE, "sh", "-c", script, "sh"])
        return result, Disk(keep, disk.format)

    def test_full_disk_raw(self):
        result, _ = self.run_on_small_disk(self.sparse_raw(), "blk.fill;blk.info;blk.verify,count=64")
        self.assertEqual(result.code, OK, result)
        self.assertIn("hull-guest: FAIL blk.fill", result.out, result)
        self.assertIn("hull-guest: ok blk.info", result.out, result)
        self.assertIn("hull-guest: ok blk.verify", result.out, result)
        self.assertLess(len(result.err.splitlines()), 50, "an unbounded log")

    def sparse_raw(self):
        return self.raw("sparse.raw", size=8 * MIB)

    def test_full_disk_qcow2_stays_consistent(self):
        result, kept = self.run_on_small_disk(self.qcow2(size=16 * MIB), "blk.fill;blk.info;blk.verify,count=64;blk.flush")
        self.assertEqual(result.code, OK, result)
        self.assertIn("hull-guest: FAIL blk.fill", result.out, result)
        self.assertIn("hull-guest: ok blk.verify", result.out, result)
        self.assertLess(len(result.err.splitlines()), 50, "an unbounded log")
        check = subprocess.run(["qemu-img", "check", "-f", "qcow2", kept.path], capture_output=True, text=True, check=False)
        self.assertIn(check.returncode, (0, 3), check.stdout + check.stderr)  # 3: leaked clusters alone
        self.assertEqual(kept.contents()[: 64 * 512], pattern(0, 64))


@unittest.skipUnless(os.geteuid() == 0, "loop devices need root")
class FailingBlockDevice(HullTest):
    def test_write_errors_reach_the_guest(self):
        """A loop device whose file has no room: the host's writes fail with EIO."""
        small = self.directory / "small"
        small.mkdir()
        script = (f"mount -t tmpfs -o size=1m none {small} || exit 99\ntruncate -s 8M {small}/file || exit 99\n"
                  f"device=$(losetup --find --show {small}/file) || exit 99\nexport device\n"
                  'words=; for word; do words="$words \'$(echo "$word" | sed "s,DEVICE,$device,")\'"; done\n'
                  'eval "$words"; status=$?; losetup -d $device; umount -l ' + f"{small}; exit $status")
        disk = Disk("DEVICE", "raw", cache="none")
        result = self.hull(*self.guest_arguments("blk.info;blk.fill;blk.flush;blk.info", [disk]), prefix=[*UNSHARE, "sh", "-c", script, "sh"])
        self.assertEqual(result.code, OK, result)
        self.assertRegex(result.out, "hull-guest: FAIL blk.(fill|flush)", result)
        self.assertEqual(result.out.count("hull-guest: ok blk.info"), 2, result)
        self.assertLess(len(result.err.splitlines()), 50, "an unbounded log")


if __name__ == "__main__":
    unittest.main()
