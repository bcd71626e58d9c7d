"""What happens at the limits that a container or a shell sets: tasks, memory, system calls, file sizes, processor time."""

import ctypes
import errno
import os
import pathlib
import resource
import signal
import struct
import subprocess
import unittest

from support import ERROR, HOST, LIMIT, MIB, OK, HullTest

IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER = 425, 426, 427


def refuse_calls(number, *calls):
    """To be called in a child: these system calls fail with this errno from now on, as seccomp profiles do it."""
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | number
    program = [struct.pack("HBBI", load, 0, 0, 0)]
    for call in calls:
        program += [struct.pack("HBBI", jump_if_equal, 0, 1, call), struct.pack("HBBI", give, 0, 0, refuse)]
    program.append(struct.pack("HBBI", give, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(program))
    filter_program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, filter_program, 0, 0) != 0:  # no new privileges; seccomp filter
        os._exit(99)


def pids_cgroup():
    """A new control group that limits tasks, or None where there is none to be had."""
    for parent in (pathlib.Path("/sys/fs/cgroup/pids"), pathlib.Path("/sys/fs/cgroup")):
        group = parent / f"hull-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / "pids.max").exists():
            return group
        group.rmdir()
    return None


def tasks_group(test):
    """A control group that bounds tasks, for as long as the test lasts, and what a child enters it by."""
    group = pids_cgroup()
    if group is None:
        test.skipTest("no control group for tasks can be made here")
    test.addCleanup(group.rmdir)
    return group, lambda: (group / "cgroup.procs").write_text(str(os.getpid()))


class Tasks(HullTest):
    def expect_no_thread(self, result, code=HOST):
        self.assertEqual(result.code, code, result)
        self.assertRegex(result.err, "(thread|KVM_RUN)", result)
        self.assertLess(len(result.err.splitlines()), 5, result)
        self.expect_sane(result)

    @unittest.skipUnless(os.geteuid() == 0, "a new PID namespace needs root")
    def test_new_pid_namespace(self):
        """Its creator can make processes but no threads."""
        result = self.hull(*self.guest_arguments("facts", (), "--name", "one"), prefix=["unshare", "--pid"])
        self.expect_no_thread(result)
        self.assertFalse(self.pid_file("one").exists())
        disk = self.qcow2()
        self.expect_no_thread(self.hull("img", "convert", "-O", "raw", disk.path, self.directory / "out.raw", prefix=["unshare", "--pid"]), ERROR)

    def test_every_limit_of_tasks(self):
        """From too few to enough: an error of the host, or success; never a hang and never a crash."""
        group, enter = tasks_group(self)
        disk = self.qcow2()
        codes = []
        for limit in range(1, 16):
            (group / "pids.max").write_text(str(limit))
            result = self.hull(*self.guest_arguments("blk.fill,count=64;blk.flush;blk.verify,count=64", [disk], "--vcpus", "2"), preexec_fn=enter)
            self.assertIn(result.code, (OK, HOST), f"limit {limit}: {result}")
            if result.code == HOST:
                self.expect_no_thread(result)
            else:
                self.expect_success(result)
            codes.append(result.code)
        self.assertEqual((codes[0], codes[-1]), (HOST, OK), codes)


class Server(HullTest):
    """hull nbd at such limits: clients get errors, or are served; the server ends as it is told to."""

    WRITES = [word for i in range(32) for word in ("-c", f"aio_write -P {i + 1} {i * 256}k 256k")]

    def serve(self, disk, limit, *options):
        """What became of it: None where it did not start, else what qemu-io had to say."""
        address = self.directory / "nbd.sock"
        server = subprocess.Popen(self.command("nbd", "-t", "-e", "4", "-f", disk.format, "-k", address, *options, disk.path),
                                  stderr=subprocess.PIPE, text=True, preexec_fn=limit)
        with server.stderr:
            self.wait_for(lambda: server.poll() is not None or address.exists(), "the server")
            if server.poll() is not None:
                error = server.stderr.read()
                self.assertIn(server.returncode, (ERROR, HOST), error)
                self.assertRegex(error, "^hull: error: .*\n$")
                return None
            client = subprocess.run(["qemu-io", "-f", "raw", *self.WRITES, "-c", "aio_flush", "-c", "flush", f"nbd+unix:///?socket={address}"],
                                    capture_output=True, text=True, timeout=LIMIT, check=False)
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(LIMIT), OK, server.stderr.read() + client.stdout + client.stderr)
        disk.check()
        return client.stdout + client.stderr

    def test_file_size(self):
        for image_format in ("raw", "qcow2"):
            for engine in ("threads", "io_uring"):
                with self.subTest(format=image_format, engine=engine):
                    disk = self.qcow2(f"{engine}.qcow2", size=16 * MIB) if image_format == "qcow2" else self.raw(f"{engine}.raw", size=0)
                    if image_format == "raw":
                        os.truncate(disk.path, 16 * MIB)

                    def limit():
                        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))

                    said = self.serve(disk, limit, "--aio", engine)
                    self.assertIsNotNone(said)
                    self.assertIn("No space left on device", said)

    def test_address_space(self):
        """From too little to enough; threads need their stacks."""
        results = []
        for mebibytes in [*range(16, 120, 4), 1024]:
            def limit(size=mebibytes * MIB):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))

            with self.subTest(mebibytes=mebibytes):
                results.append(self.serve(self.qcow2(size=16 * MIB), limit, "--aio", "threads"))
        self.assertIsNotNone(results[-1])
        self.assertNotIn("failed", results[-1])

    def test_tasks(self):
        group, enter = tasks_group(self)
        for tasks in range(1, 6):
            (group / "pids.max").write_text(str(tasks))
            with self.subTest(tasks=tasks):
                said = self.serve(self.qcow2(size=16 * MIB), enter, "--aio", "threads")
                self.assertIsNotNone(said)
                self.assertNotIn("failed", said)


class AddressSpace(HullTest):
    def test_every_limit(self):
        """From too little to enough: an error of the host, or success; never a crash."""
        codes = []
        for mebibytes in [*range(80, 340, 4), 16384]:
            def limit(size=mebibytes * MIB):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))

            result = self.hull(*self.guest_arguments("facts", (), "--vcpus", "8", "--console", "null"), preexec_fn=limit)
            self.assertIn(result.code, (OK, HOST), f"{mebibytes} MiB: {result}")
            self.expect_sane(result)
            codes.append(result.code)
        self.assertEqual((codes[0], codes[-1]), (HOST, OK), codes)

    def test_descriptors(self):
        for limit in (8, 12, 16, 20):
            def few(count=limit):
                resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

            result = self.hull(*self.guest_arguments("facts"), preexec_fn=few)
            self.expect_error(result, HOST)


class PartlyRefusedIoUring(HullTest):
    """Disks then use threads; the guest sees no difference."""

    def test_each_call(self):
        for call in (IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER):
            for number in (errno.EPERM, errno.ENOSYS):
                with self.subTest(call=call, errno=number):
                    disk = self.qcow2(f"{call}-{number}.qcow2")

                    def refuse(call=call, number=number):
                        refuse_calls(number, call)

                    agenda = "blk.fill,count=2048;blk.flush;blk.verify,count=2048"
                    self.expect_success(self.hull(*self.guest_arguments(agenda, [disk]), preexec_fn=refuse))
                    disk.check()

    def test_doctor_says_so(self):
        result = self.hull("doctor", preexec_fn=lambda: refuse_calls(errno.EPERM, IO_URING_REGISTER))
        self.assertIn("io_uring_register: Operation not permitted", result.out, result)
        self.expect_sane(result)


class FileSizes(HullTest):
    """A write beyond the limit is an error (EFBIG) and no signal that kills."""

    def limited(self, bytes_):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
        return limit

    def test_console_file(self):
        console = self.directory / "console"
        result = self.hull(*self.guest_arguments("serial.flood,bytes=64k", (), "--console", f"file:{console}"), preexec_fn=self.limited(16384))
        self.assertEqual(result.code, OK, result)
        self.assertEqual(console.stat().st_size, 16384)

    def test_guest_sees_an_error(self):
        disk = self.qcow2(size=16 * MIB)
        result = self.hull(*self.guest_arguments("blk.fill;blk.info", [disk]), preexec_fn=self.limited(4 * MIB))
        self.assertEqual(result.code, OK, result)
        self.assertIn("hull-guest: FAIL blk.fill", result.out)
        self.assertIn("hull-guest: ok blk.info", result.out)
        disk.check()

    def test_convert(self):
        disk = self.raw(data=os.urandom(MIB))
        result = self.hull("img", "convert", "-f", "raw", "-O", "raw", disk.path, self.directory / "out.raw", preexec_fn=self.limited(64 << 10))
        self.assertEqual(result.code, ERROR, result)
        self.assertIn("File too large", result.err)

    def test_nothing_may_be_written(self):
        result = self.hull(*self.guest_arguments("facts"), preexec_fn=self.limited(0))
        self.assertGreaterEqual(result.code, 0, result)
        self.expect_sane(result)


class StandardOutput(HullTest):
    def test_full(self):
        with open("/dev/full", "wb") as full:
            for words in (["--help"], ["run", "--help"], ["img", "--help"], ["--version"]):
                with self.subTest(words=words):
                    result = subprocess.run(self.command(*words), stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
                    self.assertEqual(result.returncode, ERROR, result.stderr)
                    self.assertIn("error: write to standard output: No space left on device", result.stderr)


if __name__ == "__main__":
    unittest.main()
