"""Jobs: files in and out on raw disks, the guest's own status, and what is left afterwards.

The small guest hands on what it is given (blk.copy); tar(1) and Python's tarfile are the judges of archives.
"""

import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile
import unittest

from support import ERROR, FORCED, LIMIT, MIB, OK, RESET, TIMEOUT, USAGE, HullTest, domain_xml

JOB_FAILED = 10
SECTOR = 512


class JobTest(HullTest):
    def tree(self, name="src"):
        """A directory with what directories have; returns its path."""
        root = self.directory / name
        (root / "deep" / ("long" * 20)).mkdir(parents=True)
        (root / "Makefile").write_text("test:\n")
        (root / "run").write_text("#!/bin/sh\n")
        (root / "run").chmod(0o755)
        (root / "empty").write_bytes(b"")
        (root / "deep" / ("long" * 20) / ("name" * 40)).write_bytes(os.urandom(3 * MIB + 17))
        (root / "link").symlink_to("deep")
        (root / "far").symlink_to("deep/" + "x" * 150)
        (root / b"latin-\xe9\n".decode("utf-8", "surrogateescape")).write_text("a name of any bytes")
        return root

    def seen(self, root):
        """What a directory holds, comparably."""
        found = {}
        for path in sorted(root.rglob("*")):
            mode = path.lstat().st_mode
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(root))] = (path.is_symlink() or oct(mode), content)
        return found

    def archive(self, *members):
        """A raw disk with an archive of tarfile's; members are TarInfo or (TarInfo, bytes)."""
        path = self.directory / "disk.raw"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for member in members:
                info, data = member if isinstance(member, tuple) else (member, b"")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    def member(self, name, kind=tarfile.REGTYPE, target="", data=b"", mode=0o644):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, target, mode
        return (info, data)


class PackAndUnpack(JobTest):
    def test_tar_reads_what_is_packed(self):
        root, disk, out = self.tree(), self.directory / "disk.raw", self.directory / "out"
        self.assertEqual(self.hull("pack", root, disk).code, OK)
        self.assertEqual(disk.stat().st_size % 4096, 0)
        out.mkdir()
        subprocess.run(["tar", "-xf", disk, "-C", out], check=True)
        self.assertEqual(self.seen(out), self.seen(root))
        again = self.directory / "again.raw"
        self.hull("pack", root, again)
        self.assertEqual(again.read_bytes(), disk.read_bytes())

    def test_every_kind_of_tar_is_unpacked(self):
        root = self.tree()
        for number, options in enumerate((["--format=gnu"], ["--format=pax"], ["--format=posix", "--hard-dereference"])):
            with self.subTest(options):
                disk, out = self.directory / f"{number}.raw", self.directory / f"out{number}"
                subprocess.run(["tar", *options, "-cf", disk, "-C", root, "."], check=True)
                with disk.open("ab") as file:
                    file.truncate(8 * MIB)  # the rest of the disk
                self.assertEqual(self.hull("unpack", disk, out).code, OK)
                self.assertEqual(self.seen(out), self.seen(root))
        busybox = self.directory / "busybox.raw"
        subprocess.run(["busybox", "tar", "-cf", busybox, "-C", root, "deep", "run"], check=True)
        self.assertEqual(self.hull("unpack", busybox, self.directory / "last").code, OK)
        self.assertEqual(self.seen(self.directory / "last"), {k: v for k, v in self.seen(root).items() if k.startswith(("deep", "run"))})

    def test_hostile_names_stay_inside(self):
        victim = self.directory / "victim"
        victim.write_text("untouched")
        before = victim.stat().st_ino
        cases = {
            "up": [self.member("../victim", data=b"x")], "inner": [self.member("a/../../victim", data=b"x")],
            "root": [self.member(str(victim), data=b"x")],
            "link": [self.member("l", tarfile.SYMTYPE, "../victim")], "far": [self.member("l", tarfile.SYMTYPE, "/etc/passwd")],
            "through": [self.member("d", tarfile.DIRTYPE, mode=0o755), self.member("d/l", tarfile.SYMTYPE, "d2/../../.."), self.member("d/l/victim", data=b"x")],
            "hard": [self.member("h", tarfile.LNKTYPE, "../victim")], "hardroot": [self.member("h", tarfile.LNKTYPE, str(victim))],
            "device": [self.member("null", tarfile.CHRTYPE)], "disk": [self.member("sda", tarfile.BLKTYPE)], "pipe": [self.member("p", tarfile.FIFOTYPE)],
            "long": [self.member("x" * 300, data=b"x")], "deep": [self.member("d/" * 500 + "x", data=b"x")],
        }
        for name, members in cases.items():
            with self.subTest(name):
                disk = self.archive(*members, self.member("good", data=b"good"))
                out = self.directory / "out" / name
                out.parent.mkdir(exist_ok=True)
                result = self.hull("unpack", disk, out)
                self.expect_error(result, ERROR, "left out", "warning: ")
                self.assertEqual((out / "good").read_text(), "good")
                self.assertEqual((victim.read_text(), victim.stat().st_ino, victim.stat().st_nlink), ("untouched", before, 1))
                for path in out.rglob("*"):
                    self.assertTrue(path.is_symlink() or path.is_dir() or path.is_file(), path)
                    self.assertTrue(path.resolve().is_relative_to(out.resolve()), path)

    def test_links_that_were_there_are_not_followed(self):
        out, outside = self.directory / "out", self.directory / "outside"
        out.mkdir()
        outside.mkdir()
        (outside / "file").write_text("untouched")
        (out / "d").symlink_to(outside)
        (out / "f").symlink_to(outside / "file")
        result = self.hull("unpack", self.archive(self.member("d/x", data=b"x"), self.member("f", data=b"new")), out)
        self.expect_error(result, ERROR, "1 of the archive's 2 entries")
        self.assertEqual([p.name for p in outside.iterdir()], ["file"])
        self.assertEqual(((outside / "file").read_text(), (out / "f").read_text()), ("untouched", "new"))

    def test_rights_are_those_of_whoever_unpacks(self):
        out = self.directory / "out"
        self.assertEqual(self.hull("unpack", self.archive(self.member("s", data=b"x", mode=0o6777), self.member("d", tarfile.DIRTYPE, mode=0o1000),
                                                          self.member("d/x", data=b"x", mode=0o400)), out, prefix=("sh", "-c", 'umask 027; exec "$@"', "sh")).code, OK)
        self.assertEqual((oct((out / "s").stat().st_mode), oct((out / "d").stat().st_mode)), ("0o100750", "0o40700"))
        self.assertEqual((out / "d/x").read_text(), "x")

    def test_damaged_archives_are_errors(self):
        good = self.archive(self.member("first", data=b"1"), self.member("second", data=b"2" * 5000)).read_bytes()
        sparse = self.directory / "sparse"
        with sparse.open("wb") as file:
            file.truncate(1 << 30)
        huge = bytearray(good)
        huge[1024 + 124:1024 + 136] = b"\x80" + b"\0" * 3 + b"\x7f" * 8
        cases = {"zeros": bytes(1 << 16), "noise": os.urandom(1 << 16), "cut": good[:2048], "flipped": good[:1030] + b"\xff" + good[1031:], "huge": bytes(huge), "empty": b""}
        for name, data in cases.items():
            with self.subTest(name):
                path = self.directory / f"{name}.raw"
                path.write_bytes(data)
                self.expect_error(self.hull("unpack", path, self.directory / f"out-{name}"), ERROR, f"{name}.raw")
        self.assertEqual((self.directory / "out-cut/first").read_text(), "1")

    def test_words(self):
        self.expect_error(self.hull("pack", "none", "x", cwd=self.directory), ERROR, "none")
        self.expect_error(self.hull("unpack", "none", "x", cwd=self.directory), ERROR, "none")
        self.assertFalse((self.directory / "x").exists())
        self.expect_error(self.hull("pack", "."), USAGE, "FILE")

    def test_sockets_and_pipes_are_left_out(self):
        root = self.tree()
        os.mkfifo(root / "pipe")
        result = self.hull("pack", root, self.directory / "disk.raw")
        self.assertEqual((result.code, "1 sockets, pipes or devices were left out" in result.err), (OK, True), result)


class Job(JobTest):
    HAND_ON = "blk.copy,dev=0,to=1"

    def record(self):
        return json.loads((self.directory / "result.json").read_text())

    def job(self, agenda, *options, **more):
        return self.hull(*self.guest_arguments(agenda, (), "--result", self.directory / "result.json", *options), cwd=self.directory, **more)

    def status_source(self, text):
        """A directory whose only file begins in the second sector of its archive."""
        source = self.directory / "status-source"
        source.mkdir(exist_ok=True)
        (source / "status").write_text(text)
        return source

    def test_files_go_in_and_out(self):
        root = self.tree()
        self.expect_success(self.job(self.HAND_ON, "--in", root, "--out", "out"))
        self.assertEqual(self.seen(self.directory / "out"), self.seen(root))
        self.assertEqual(self.record()["exit_code"], OK)
        self.assertNotIn("guest_status", self.record())

    def test_disks_stand_behind_those_of_the_job(self):
        result = self.hull(*self.guest_arguments("blk.info,dev=0;blk.info,dev=1;blk.info,dev=2;blk.info,dev=3", [self.raw(serial="own")],
                                                 "--in", self.tree(), "--out", "out", "--out-size", "8M", "--status-from", "disk"), cwd=self.directory)
        lines = [line for line in result.out.splitlines() if "blk.info sectors" in line]
        self.assertEqual([line.split(" id=")[1].split(" ")[0] for line in lines], ["own", "hull-in", "hull-out", "hull-status"], result)
        self.assertIn(f"sectors={8 * MIB // SECTOR} ", lines[2])
        self.assertIn("readonly=1", lines[1])

    def test_status_comes_from_a_disk_or_a_file(self):
        for text, code, status in (("0\n", OK, 0), ("3", JOB_FAILED, 3), (" 255 \n", JOB_FAILED, 255), ("256", JOB_FAILED, None), ("-1", JOB_FAILED, None), ("yes", JOB_FAILED, None)):
            for options in (["--status-from", "disk"], ["--status-from", "./status", "--out", "out"]):
                with self.subTest(text=text, options=options):
                    agenda = self.HAND_ON if "--out" in options else "blk.copy,dev=0,to=1,start=1,count=1"
                    result = self.job(agenda, "--in", self.status_source(text), *options)
                    self.assertEqual(result.code, code, result)
                    self.assertEqual((self.record()["exit_code"], self.record().get("guest_status")), (code, status))
                    if code == JOB_FAILED:
                        self.assertRegex(result.err, rf"(?m)^error: hull-\d+: the guest.*{status if status is not None else '--status-from'}")
                        self.assertIn("the guest", self.record()["detail"])

    def test_status_of_an_earlier_run_does_not_count(self):
        (self.directory / "out").mkdir()
        (self.directory / "out/status").write_text("0")
        result = self.job("", "--out", "out", "--status-from", "status")
        self.expect_error(result, ERROR, "no tar archive")
        self.assertNotIn("guest_status", self.record())

    def test_what_comes_out_of_a_job_that_failed(self):
        result = self.job(self.HAND_ON, "--in", self.status_source("7"), "--out", "out", "--status-from", "status", "--append", "")
        self.assertEqual(result.code, USAGE)  # --append twice
        for end, code in (("reset", RESET), ("hang", TIMEOUT)):
            with self.subTest(end):
                out = self.directory / f"out-{end}"
                result = self.hull(*self.guest_arguments(self.HAND_ON, (), "--in", self.status_source("7"), "--out", out, "--status-from", "status", "--timeout", "20",
                                                         "--result", self.directory / "result.json", end=end))
                self.assertEqual((result.code, (out / "status").read_text(), self.record()["guest_status"]), (code, "7", 7), result)

    def test_with_a_document_and_ephemeral(self):
        disk = self.raw(data=b"kept" * 128)
        document = self.directory / "job.xml"
        document.write_text(domain_xml(disks=[disk], cmdline="hull.do=blk.fill,dev=0,count=8;blk.copy,dev=1,to=2"))
        self.expect_success(self.hull("run", document, "--ephemeral", "--in", self.tree(), "--out", self.directory / "out"))
        self.assertEqual(self.seen(self.directory / "out"), self.seen(self.directory / "src"))
        self.assertTrue(disk.path.read_bytes().startswith(b"kept"))

    def test_hostile_archive_fails_the_job(self):
        disk = self.archive(self.member("../x", data=b"x"))
        result = self.hull(*self.guest_arguments(f"blk.copy,dev=0,to=1,count={disk.stat().st_size // SECTOR}", (), "--disk", f"{disk},readonly=on", "--out", self.directory / "out"))
        self.expect_error(result, ERROR, "left out", "'../x' leads out")
        self.assertFalse((self.directory / "x").exists())

    def test_nothing_is_left(self):
        home = self.directory / "home"
        temporary = self.directory / "tmp"
        for path in (home, temporary):
            path.mkdir()
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary)}
        source = self.status_source("0")
        command = self.guest_arguments(self.HAND_ON, (), "--in", source, "--out", self.directory / "out", "--status-from", "status")
        user = [] if os.getuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        before = {p for p in self.directory.rglob("*")} | {self.directory / "out", self.directory / "out/status"}
        if user:
            for path in (self.directory, home, temporary):
                os.chown(path, 65534, 65534)
        if user and not os.access("/dev/kvm", os.F_OK):
            self.fail("/dev/kvm is missing")
        from support import HULL
        result = subprocess.run([*(user if pathlib.Path("/dev/kvm").stat().st_mode & 0o6 == 0o6 else []), HULL, *command], env=environment, cwd=self.directory, capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(result.returncode, OK, result.stderr)
        left = {p for p in self.directory.rglob("*")} - before
        self.assertEqual({str(p) for p in left if not p.is_dir()}, set())

    def test_words(self):
        for words, told in ((["--status-from", "status"], "--out"), (["--out", "o", "--out-size", "0"], "--out-size"), (["--out", "o", "--out-size", "x"], "--out-size")):
            with self.subTest(words):
                self.expect_error(self.job("", *words), USAGE, told)
        self.expect_error(self.job("", "--in", self.directory / "none"), ERROR, "--in", "none")
        self.expect_error(self.job("", "--out", "/proc/none"), ERROR, "--out", "/proc/none")

    def test_signal_while_packing_leaves_at_once(self):
        endless = self.directory / "endless"
        endless.mkdir()
        with (endless / "file").open("wb") as file:
            file.truncate(1 << 42)
        process = self.start(*self.guest_arguments("", (), "--in", endless, "--result", self.directory / "result.json"), cwd=self.directory,
                             preexec_fn=lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_FSIZE, (1 << 30, 1 << 30)))
        self.wait_for(lambda: (self.directory / "result.json").exists(), "the start")
        process.send_signal(signal.SIGTERM)
        self.assertIn(process.wait(LIMIT), (FORCED, ERROR))


if __name__ == "__main__":
    unittest.main()
