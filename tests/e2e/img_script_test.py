"""Scripts that were written for qemu-img, run with hull-img in its place: the same exit status, the same files.

A table of command lines goes through both, each in a directory of its own; what they leave is compared (which files,
their modes, what the images hold), and messages by their kind: an error has text on stderr that begins with the
program's name, success has none. Deliberate differences are in DIFFERENCES, and in hull-img(1).
"""

import os
import pathlib
import signal
import stat
import subprocess
import tempfile
import time
import unittest

from support import HULL, LIMIT, HullTest

# Made with qemu-img in each directory, before each line.
SETUP = """
head -c 1048576 /dev/zero | tr '\\\\0' 'a' > r.raw
printf secret > key
qemu-img create -q -f qcow2 base.qcow2 4M
qemu-io -f qcow2 -c 'write -q -P 1 0 1M' -c 'write -q -P 2 2M 64k' base.qcow2
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 top.qcow2
qemu-io -f qcow2 -c 'write -q -P 3 512k 64k' top.qcow2
qemu-img create -q -f qcow2 snap.qcow2 2M
qemu-io -f qcow2 -c 'write -q -P 4 0 128k' snap.qcow2
qemu-img snapshot -c one snap.qcow2
qemu-io -f qcow2 -c 'write -q -P 5 64k 128k' snap.qcow2
qemu-img create -q -f qcow2 bits.qcow2 1M
qemu-img bitmap --add bits.qcow2 b0
"""

LINES = """
create x 1M
create -f qcow2 x 1M
create -f qcow2 x 1.5G
create -f qcow2 x 0x100000
create -f qcow2 x ' 10M'
create -f qcow2 x +1M
create -f qcow2 x 1024.0
create -f qcow2 x 1Z
create -f qcow2 x -1
create -f qcow2 x 8E
create -f qcow2 x
create -f qcow2
create
create -f foo x 1M
create -f qcow2 -o size=1M x
create -f qcow2 -o size=1M x 2M
create -f qcow2 -o lazy_refcounts=on,preallocation=off,nocow=on x 1M
create -f qcow2 -o lazy_refcounts x 1M
create -f qcow2 -o extended_l2=maybe x 1M
create -f qcow2 -o foo=1 x 1M
create -f qcow2 -o '' x 1M
create -f qcow2 -o cluster_size=0x1000 x 1M
create -f qcow2 -o cluster_size=3k x 1M
create -f qcow2 -o refcount_bits=3 x 1M
create -f qcow2 -o compat=2 x 1M
create -f qcow2 -o compat=0.10,refcount_bits=8 x 1M
create -f qcow2 -o compression_type=lzo x 1M
create -f qcow2 -o encryption=off x 1M
create -f qcow2 -o preallocation=metadata x 1M
create -f qcow2 -o preallocation=metadata -o cluster_size=4k x 1M
create -f raw -o preallocation=metadata x 1M
create -f raw -o nocow=off x 1M
create -f raw -o cluster_size=4k x 1M
create -f qcow2 -b base.qcow2 -F qcow2 x
create -f qcow2 -b base.qcow2 -F qcow2 x 8M
create -f qcow2 -b base.qcow2 x
create -f qcow2 -b '' -F qcow2 x 1M
create -f qcow2 -b missing -F qcow2 x
create -f qcow2 -b missing -F qcow2 x 1M
create -f qcow2 -u -b missing -F qcow2 x 1M
create -f qcow2 -u -b missing -F qcow2 x
create -f raw -b base.qcow2 -F qcow2 x
create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 x
create -f qcow2 -o backing_file= x 1M
create -f qcow2 -o backing_fmt=qcow2 x 1M
create -f qcow2 -b base.qcow2 -F qcow2 base.qcow2
create -f qcow2 file:x 1M
create -f qcow2 ssh:x 1M
create -f qcow2 fat:x 1M
create -f qcow2 nodir/x 1M
create -f qcow2 -o data_file=x.data x 1M
create -f qcow2 -o data_file_raw=on x 1M
create -q -f qcow2 -o help
create -o '?'
create -f foo -o help
create --unknown x 1M
info base.qcow2
info file:base.qcow2
info missing
info -f raw base.qcow2
info -f foo base.qcow2
info --output=xml base.qcow2
info --output=json base.qcow2
info --backing-chain top.qcow2
info --image-opts driver=qcow2,file.filename=base.qcow2
info --image-opts driver=qcow2,file.driver=file,file.filename=base.qcow2,file.locking=off
info --image-opts -f qcow2 driver=qcow2,file.filename=base.qcow2
info --image-opts driver=foo,file.filename=base.qcow2
info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}'
info 'json:{"file.filename":"base.qcow2","driver":"qcow2"}'
info 'json:{'
info
info base.qcow2 top.qcow2
check base.qcow2
check --output=json base.qcow2
check -r leaks base.qcow2
check -r all base.qcow2
check -r some base.qcow2
check -f raw r.raw
check r.raw
check -T none base.qcow2
check --image-opts driver=qcow2,file.filename=base.qcow2
check missing
compare base.qcow2 base.qcow2
compare base.qcow2 top.qcow2
compare -s base.qcow2 r.raw
compare base.qcow2 missing
compare base.qcow2
convert base.qcow2 x
convert -O qcow2 base.qcow2 x
convert -O qcow2 top.qcow2 x
convert -O qcow2 r.raw x
convert -f raw -O qcow2 r.raw r.raw x
convert -c -O qcow2 r.raw x
convert -c -O qcow2 -f raw r.raw key x
convert -c -O raw r.raw x
convert -O qcow2 -B base.qcow2 -F qcow2 top.qcow2 x
convert -O qcow2 -B '' r.raw x
convert -O qcow2 -o cluster_size=4k top.qcow2 x
convert -O qcow2 -o foo=1 top.qcow2 x
convert -O foo top.qcow2 x
convert -n -O raw r.raw x
convert -n -O qcow2 -o cluster_size=4k r.raw x
convert --target-is-zero -O raw r.raw x
convert -S 0 -O qcow2 r.raw x
convert -S 4M -O qcow2 r.raw x
convert -S 16M -O qcow2 r.raw x
convert -S 32M -O qcow2 r.raw x
convert -S 100 -O qcow2 r.raw x
convert -m 0 -O qcow2 r.raw x
convert -m 16 -W -O qcow2 r.raw x
convert -m 17 -O qcow2 r.raw x
convert -l one -O raw snap.qcow2 x
convert -l snapshot.name=one -O raw snap.qcow2 x
convert -l none -O raw snap.qcow2 x
convert -s one -O raw snap.qcow2 x
convert -C -O raw r.raw x
convert -C -c -O qcow2 r.raw x
convert -t none -O raw r.raw x
convert -t foo -O raw r.raw x
convert --bitmaps -O qcow2 bits.qcow2 x
convert --bitmaps -O raw bits.qcow2 x
convert --skip-broken-bitmaps -O qcow2 bits.qcow2 x
convert -O qcow2 --object secret,id=s,file=key -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 r.raw x
convert -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s r.raw x
convert -O raw file:r.raw file:x
convert -O raw r.raw ssh:x
convert -O raw r.raw r.raw
convert r.raw
convert
convert -O qcow2 -o help
dd if=r.raw of=x
dd -f raw -O qcow2 bs=64k count=2 if=r.raw of=x
dd bs=1M skip=2 if=r.raw of=x
dd bs=0 if=r.raw of=x
dd bs=x if=r.raw of=x
dd foo=1 if=r.raw of=x
dd if=r.raw
dd of=x
map base.qcow2
map --output=json top.qcow2
map --start-offset=1M --max-length=1M base.qcow2
map missing
measure -O qcow2 --size 1G
measure -O raw --size 7E
measure -O qcow2 base.qcow2
measure -O qcow2 -o cluster_size=8k,extended_l2=on --size 1G
measure -O qcow2 -o foo=1 --size 1G
measure --size 1G base.qcow2
measure
resize base.qcow2 8M
resize base.qcow2 +1M
resize base.qcow2 0x1000000
resize base.qcow2 +0x10000
resize base.qcow2 1M
resize --shrink base.qcow2 2M
resize --shrink base.qcow2 -1M
resize -f raw r.raw 2M
resize --preallocation=metadata base.qcow2 8M
resize --preallocation=foo base.qcow2 8M
resize base.qcow2 foo
resize base.qcow2
resize missing 1M
rebase -b '' top.qcow2
rebase -u -b other.qcow2 -F qcow2 top.qcow2
rebase -u -b other.vmdk -F vmdk top.qcow2
rebase -u -b '' top.qcow2
rebase -b base.qcow2 top.qcow2
rebase -b base.qcow2 -F qcow2 top.qcow2
rebase -b missing -F qcow2 top.qcow2
rebase top.qcow2
commit top.qcow2
commit -d top.qcow2
commit -b base.qcow2 top.qcow2
commit -b other.qcow2 top.qcow2
commit base.qcow2
commit missing
snapshot -l snap.qcow2
snapshot snap.qcow2
snapshot -c two snap.qcow2
snapshot -c one snap.qcow2
snapshot -a one snap.qcow2
snapshot -a none snap.qcow2
snapshot -d one snap.qcow2
snapshot -d none snap.qcow2
snapshot -c a -d one snap.qcow2
snapshot -l r.raw
bitmap --add bits.qcow2 b1
bitmap --add bits.qcow2 b0
bitmap --add -g 4k bits.qcow2 b1
bitmap --add -g 3k bits.qcow2 b1
bitmap --remove bits.qcow2 b0
bitmap --remove bits.qcow2 none
bitmap --disable --enable --clear bits.qcow2 b0
bitmap --add --merge b0 bits.qcow2 b1
bitmap bits.qcow2 b0
bitmap --add r.raw b0
amend -o lazy_refcounts=on base.qcow2
amend -o compat=0.10 base.qcow2
amend -o cluster_size=4k base.qcow2
amend -o foo=1 base.qcow2
amend base.qcow2
amend -f qcow2 -o help
amend -o help
amend -o help none.qcow2
amend -o help base.qcow2
amend -o help r.raw
amend -f raw -o help
create -f qcow2 -o extent_size_hint=1M x 1M
create -f raw -o extent_size_hint=1M x 1M
create -f qcow2 -o extent_size_hint=1Z x 1M
info --format raw r.raw
info --format=qcow2 base.qcow2
map --format qcow2 --output=json base.qcow2
check --format qcow2 base.qcow2
check --repair=all -f qcow2 base.qcow2
check --repair leaks base.qcow2
check --repair=most base.qcow2
-T foo info base.qcow2
--trace foo info base.qcow2
--trace=enable=foo info base.qcow2
bench -c 10 -d 2 base.qcow2
frob base.qcow2
--version
-V
--help
-h
"""

# The line, or its beginning, and why hull-img does something else.
DIFFERENCES = {
    "create -f raw -o preallocation=metadata": "no empty file stays behind",
    "convert -t foo": "nor here",
}


def lines():
    return [line for line in LINES.splitlines() if line]


class ImgScripts(HullTest):
    def setUp(self):
        super().setUp()
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)
        bin_directory = pathlib.Path(self.place.name, "bin")
        bin_directory.mkdir()
        (bin_directory / "qemu-img").symlink_to(pathlib.Path(HULL).resolve())
        self.ours = {**os.environ, "PATH": f"{bin_directory}:{os.environ['PATH']}", "LC_ALL": "C"}
        self.theirs = {**os.environ, "LC_ALL": "C"}

    def run_line(self, line, environment, name):
        directory = pathlib.Path(self.place.name, name)
        for _ in range(100):
            subprocess.run(["rm", "-rf", directory], check=True)
            subprocess.run(["cp", "-a", pathlib.Path(self.place.name, "setup"), directory], check=True)
            done = subprocess.run(["sh", "-c", f"umask 027; qemu-img {line}"], cwd=directory, env=environment,
                                  capture_output=True, text=True, timeout=LIMIT, errors="replace")
            # qemu-img on a quick machine, about every other time that it makes a key.
            if "Unable to get accurate CPU usage" not in done.stderr:
                break
        return done, directory

    def image_of(self, path):
        """What a file holds as an image; qemu-img is the judge of both."""
        if path.suffix in ("", ".qcow2") and path.read_bytes()[:4] == b"QFI\xfb":
            raw = path.with_suffix(".flat")
            copied = subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path.name, raw.name],
                                    cwd=path.parent, capture_output=True, text=True, check=False)
            contents = raw.read_bytes() if raw.exists() else copied.stderr.replace(str(path.parent), "")
            raw.unlink(missing_ok=True)
            return contents
        return path.read_bytes()

    def compare_files(self, ours, theirs):
        names = sorted(path.name for path in theirs.iterdir())
        self.assertEqual(sorted(path.name for path in ours.iterdir()), names)
        for name in names:
            mine, other = ours / name, theirs / name
            self.assertEqual(stat.filemode(mine.stat().st_mode), stat.filemode(other.stat().st_mode), name)
            if mine.read_bytes() != other.read_bytes():
                self.assertTrue(self.image_of(mine) == self.image_of(other), f"{name} differs")

    def test_lines_do_the_same(self):
        setup = pathlib.Path(self.place.name, "setup")
        setup.mkdir()
        subprocess.run(["sh", "-ec", SETUP], cwd=setup, env=self.theirs, check=True, timeout=LIMIT)
        for line in lines():
            with self.subTest(line=line):
                mine, ours = self.run_line(line, self.ours, "ours")
                other, theirs = self.run_line(line, self.theirs, "theirs")
                self.assertEqual(mine.returncode, other.returncode, f"{mine.stderr}\n--\n{other.stderr}")
                errors = [bool(one.stderr.strip()) for one in (mine, other)]
                if mine.returncode != 0 and mine.returncode not in (2, 3) or "compare" not in line:
                    self.assertEqual(errors[0], errors[1] and "warning: trace event" not in other.stderr, f"{mine.stderr}\n--\n{other.stderr}")
                self.assertNotIn("\\x0a", mine.stderr, "a line of its own is not part of somebody's name")
                if mine.returncode == 1 and mine.stderr:
                    self.assertIn("qemu-img: ", mine.stderr)
                if not any(line.startswith(known) for known in DIFFERENCES):
                    self.compare_files(ours, theirs)

    def test_progress_is_told_on_a_signal_and_ends_nothing(self):
        directory = pathlib.Path(self.place.name)
        with (directory / "big.raw").open("wb") as file:
            file.truncate(256 << 20)
        for line in ("convert -r 40M -S 0 -f raw -O raw big.raw out.raw", "convert -p -r 40M -S 0 -f raw -O raw big.raw out.raw"):
            with self.subTest(line=line):
                process = subprocess.Popen([directory / "bin/qemu-img", *line.split()], cwd=directory, text=True,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                # One that comes before the work begins waits for it.
                deadline = time.monotonic() + LIMIT
                while not (directory / "out.raw").exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                process.send_signal(signal.SIGUSR1)
                _, errors = process.communicate(timeout=LIMIT)
                self.assertEqual(process.returncode, 0)
                self.assertRegex(errors, r"^    \(\d+\.\d\d/100%\)\n")
                (directory / "out.raw").unlink()
        for line in ("info big.raw", "map -f raw big.raw", "dd bs=1M count=1 if=big.raw of=x"):
            process = subprocess.Popen(["sh", "-c", f"kill -USR1 $$; exec {directory}/bin/qemu-img {line}"], cwd=directory,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]))
            self.assertEqual(process.wait(LIMIT), 0, line)


if __name__ == "__main__":
    unittest.main()
