"""The commonest mistakes of people who are new: each message names what helps."""

import os
import shutil
import subprocess
import unittest

from support import BUSY, ERROR, HOST, HULL, LIMIT, OK, REFUSED, USAGE, HullTest, domain_xml


class Mistakes(HullTest):
    GUEST = ("--kernel", "hull:guest")

    def here(self, *words, **more):
        return self.hull(*words, cwd=self.directory, **more)

    def run_here(self, *words, **more):
        return self.here("run", *self.GUEST, *words, **more)

    def text(self, name, content):
        path = self.directory / name
        path.write_text(content)
        return path

    def check(self, cases, command):
        for words, code, *told in cases:
            with self.subTest(words=words):
                self.expect_error(command(*words), code, *told)

    def test_files(self):
        self.qcow2("d.qcow2")
        self.raw("raw")
        (self.directory / "dir").mkdir()
        self.check(((["--disk", "none.qcow2,format=qcow2"], ERROR, "none.qcow2", "No such file"),
                    (["--disk", "dir"], ERROR, "dir", "irectory"),
                    (["--disk", "raw,format=qcow2"], ERROR, "raw", "not a qcow2 image", "format=raw"),
                    (["--disk", "d.qcow2,format=vmdk"], USAGE, "vmdk", "raw", "qcow2"),
                    (["--disk", "raw", "--disk", "raw"], REFUSED, "raw"),
                    (["--disk", ""], USAGE, "which file"),
                    (["--disk", "raw,readonly"], USAGE, "readonly=on"),
                    (["--disk", "raw,cache=foo"], USAGE, "cache", "writeback"),
                    (["--console", "file:"], USAGE, "path is missing"),
                    (["--console", "telnet"], USAGE, "stdio, file:PATH, pty, unix:PATH or null"),
                    (["--disk", "raw,encrypt.key-secret=s"], REFUSED, "encrypt")), self.run_here)
        self.check(((["raw"], USAGE, "no boot sector", "--kernel FILE", "--disk FILE"),
                    (["dir"], ERROR, "dir"),
                    (["none.xml"], ERROR, "none.xml", "No such file"),
                    (["--kernel", "hull:foo"], USAGE, "hull:guest"),
                    (["--kernel", "raw"], ERROR, "raw", "kernel"),
                    (["--kernel", "dir"], ERROR, "dir"),
                    (["--kernel", "none"], ERROR, "none", "No such file")), lambda *words: self.here("run", *words))

    def test_words(self):
        self.check(((["--memory", "1X"], USAGE, "--memory"), (["--timeout", "1s"], USAGE, "--timeout", "number"), (["--vcpus", "two"], USAGE, "--vcpus", "number"),
                    (["--memroy", "1G"], USAGE, "--memory"), (["-m", "512"], USAGE, "--memory SIZE"), (["-hda", "x"], USAGE, "--hda FILE"),
                    (["-smp", "2"], USAGE, "--vcpus N"), (["--ram", "512"], USAGE, "--memory SIZE"), (["-v", "a:b"], USAGE, "--in DIR"),
                    (["--net", "slirp"], USAGE, "user"), (["--net", "tap,mac=zz"], USAGE, "mac"), (["--net", "tap,mac=01:00:00:00:00:01"], USAGE, "multicast"),
                    (["--net", "tap,ifname=" + "x" * 16], REFUSED, "15"), (["--name", "a/b"], REFUSED, "cannot contain '/'"),
                    (["--layout", "foo"], USAGE, "hull", "libvirt"), (["--memory", "1M"], REFUSED, "MiB")), self.run_here)
        for words, told in ((("--disk", "d,if=virtio"), "all disks are virtio"), (("--disk", "d,media=cdrom"), "--cdrom FILE"), (("--disk", "d,size=10"), "hull img create"),
                            (("--disk", "d,colour=red"), "there are file="), (("--disk", "d,formt=raw"), "'format'"), (("--net", "user,model=virtio"), "all interfaces are virtio"),
                            (("--net", "tap,macaddr=x"), "mac=MAC"), (("--net", "user,publsh=80"), "'publish'"), (("--net", "user,colour=red"), "there are ifname=")):
            with self.subTest(words=words):
                self.expect_error(self.run_here(*words), USAGE, told)
        for words, told in ((("-c", "qemu:///system", "list"), "connects to nobody"), (("--debug", "run"), "behind the verb"), (("-V",), "hull --version")):
            with self.subTest(words=words):
                self.expect_error(self.here(*words), USAGE, told)
        for verb, told in (("net-list", "docs/network.md"), ("start", "hull run"), ("list", ".pid"), ("console", "--console"), ("shutdown", "SIGTERM"), ("rnu", "'run'")):
            with self.subTest(verb=verb):
                self.expect_error(self.here(verb), USAGE, told)

    def test_documents(self):
        for content, *told in (("", "is empty"), ("<domain>", "web.xml:1:9", "ends before </domain>"), ("<domain><na", "ends before </domain>"), (domain_xml().replace("hull:guest", "vmlinuz"), "'vmlinuz'", "absolute path"),
                               (domain_xml(devices="<disc type='file'/>"), "<disk> meant", "--ignore=disc"),
                               (domain_xml(devices="<interface type='network'/>"), "--ignore=interface")):
            with self.subTest(content=content[:60]):
                result = self.here("run", self.text("web.xml", content))
                self.assertEqual(result.code, REFUSED, result)
                for word in told:
                    self.assertIn(word, result.err)

    def test_somebody_else_has_it(self):
        disk = self.qcow2("d.qcow2")
        process = self.start(*self.guest_arguments("serial.echo", [disk], "--name", "web"))
        self.wait_for(lambda: self.pid_file("web").exists() and self.pid_file("web").read_text(), "the number in the PID file")
        self.expect_error(self.run_here("--name", "web"), BUSY, "web", str(process.pid))
        self.expect_error(self.run_here("--disk", disk.argument()), BUSY, "d.qcow2", "in use")
        looked = self.here("img", "info", "d.qcow2")
        self.assertEqual((looked.code, "-U looks at it all the same" in looked.err), (ERROR, True), looked)
        self.assertEqual(self.here("img", "info", "-U", "d.qcow2").code, OK)

    def test_warnings_that_name_what_helps(self):
        self.qcow2("d.qcow2")
        self.assertIn("format=qcow2", self.run_here("--disk", "d.qcow2").err)
        host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        self.assertIn("more than this host has", self.run_here("--memory", f"{host + 1}M").err)
        self.expect_error(self.run_here("--memory", f"{host * 16 + 17}M"), HOST, "more than 16 times what this host has")
        cpus = os.cpu_count() + 1
        self.assertIn(f"{cpus} vCPUs are more than the", self.run_here("--vcpus", str(cpus)).err)
        path = self.text("web.xml", domain_xml())
        self.assertIn("there is no document", self.run_here("--ignore", "/domain/foo").err)
        self.assertIn("nothing by that name is refused", self.here("run", path, "--ignore", "/domain/foo").err)

    @unittest.skipUnless(os.geteuid() == 0, "wants another user's file")
    def test_file_of_somebody_else(self):
        disk = self.raw("raw").path
        disk.chmod(0o640)
        self.directory.chmod(0o755)
        program = shutil.copy(HULL, self.directory / "hull")
        result = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "img", "info", disk], stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=LIMIT, check=False)
        self.assertEqual(result.returncode, ERROR, result.stderr)
        self.assertIn("Permission denied (mode 0640, owner 0, group 0)", result.stderr)

    def test_places_that_cannot_be_written(self):
        # In a user namespace root, too, is somebody else: with a home, and here it cannot be made.
        def run(*words):
            return subprocess.run(["unshare", "--user", *map(str, [HULL, "run", *self.GUEST, *words])],
                                  env={"HOME": "/proc/nonexistent", "PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=LIMIT, check=False)

        named = run("--name", "web")
        self.assertNotEqual(named.returncode, OK)
        self.assertIn("--root DIR", named.stderr)
        nameless = run()
        self.assertEqual(nameless.returncode, OK, nameless.stderr)  # it keeps no file


if __name__ == "__main__":
    unittest.main()
