"""Tests of tools/dev: each check must fail where it should, or it protects nothing."""

import dataclasses
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEV = ROOT / "tools/dev"
sys.path.insert(0, str(DEV))
from kept_results import KeptResults  # noqa: E402


def run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)


class CheckLayers(unittest.TestCase):
    def violations(self, name, text):
        with tempfile.TemporaryDirectory() as directory:
            file = pathlib.Path(directory, name)
            file.parent.mkdir(parents=True)
            file.write_text(text)
            result = run(DEV / "check-layers", directory)
            self.assertEqual(result.returncode, 1 if result.stdout else 0)
            return result.stdout

    def test_arrow_up_is_refused(self):
        self.assertIn("base/ must not include vmm/", self.violations("base/log.h", '#include "vmm/machine.h"\n'))

    def test_arrow_sideways_is_refused(self):
        self.assertIn("blockcore/ must not include virtio/", self.violations("blockcore/a/b.cc", '  # include "virtio/queue.h"\n'))

    def test_arrow_down_is_accepted(self):
        self.assertEqual(self.violations("vmm/machine.cc", '#include "base/log.h"\n#include <linux/kvm.h>\n'), "")

    def test_blockcore_only_from_the_block_device(self):
        self.assertEqual(self.violations("virtio/block_device.cc", '#include "blockcore/disk.h"\n'), "")
        self.assertIn("virtio/net_device.cc:1", self.violations("virtio/net_device.cc", '#include "blockcore/disk.h"\n'))

    def test_arrows_inside_blockcore(self):
        for name, header in (("qcow2/edit/a.h", "image/chunks.h"), ("file/a.cc", "qcow2/parts.h"), ("engine/a.h", "file/file.h"),
                             ("nbd/a.cc", "open.h"), ("new/a.h", "async/task.h")):
            self.assertIn("must not include", self.violations(f"blockcore/{name}", f'#include "blockcore/{header}"\n'))
        for name, header in (("image/a.cc", "qcow2/edit/create.h"), ("qcow2/a.h", "disk.h"), ("open.cc", "nbd/nbd_disk.h")):
            self.assertEqual(self.violations(f"blockcore/{name}", f'#include "blockcore/{header}"\n'), "")

    def test_tools_and_documents_name_no_format(self):
        for name, text in (("tools/hull/new.cc", "if (format == DiskFormat::kQcow2)\n"), ("config/new.h", "Qcow2Disk& disk;\n"),
                           ("tools/hull/new.h", '#include "blockcore/qcow2/parts.h"\n')):
            self.assertIn("names a format of disk images", self.violations(name, text))
        self.assertEqual(self.violations("tools/hull/new.cc", '#include "blockcore/format_table.h"\nDiskFormat format;\n'), "")
        self.assertEqual(self.violations("blockcore/open.cc", "DiskFormat::kQcow2;\n"), "")
        # Who has come clean stays so.
        self.assertIn("take it off the list", self.violations("tools/hull/img_bitmap.cc", "\n"))

    def test_relative_include_is_refused(self):
        self.assertIn("not written from the root", self.violations("base/log.cc", '#include "log.h"\n'))

    def test_kvm_below_vmm_is_refused(self):
        self.assertIn("<linux/kvm.h>", self.violations("devices/bus.cc", "#include <linux/kvm.h>\n"))

    def test_neutral_code_names_no_architecture(self):
        include = '#include "vmm/x86/board.h"\n'
        self.assertIn("is of one architecture", self.violations("vmm/machine.cc", include))
        self.assertIn("is of one architecture", self.violations("vmm/arm64/board.cc", include))
        self.assertIn("is of one architecture", self.violations("firmware/boot.cc", '#include "firmware/x86/boot.h"\n'))
        self.assertEqual(self.violations("vmm/arch.h", include), "")
        self.assertEqual(self.violations("vmm/x86/board.cc", include + '#include "firmware/x86/boot.h"\n'), "")

    def test_kind_of_virtio_device_is_named_by_one_table(self):
        include = '#include "virtio/rng_device.h"\n'
        for name in ("vmm/build_machine.cc", "vmm/host_parts.h", "tools/hull/run.cc", "virtio/frontend.cc"):
            self.assertIn("for the table of kinds", self.violations(name, include))
        for name in ("vmm/virtio_kinds.cc", "virtio/rng_device.cc", "tests/unit/virtio/a_test.cc"):
            self.assertEqual(self.violations(name, include), "")

    def test_guest_programs_take_nothing_of_the_host(self):
        self.assertIn("guest program", self.violations("firmware/guest/main.cc", '#include "base/log.h"\n'))


class CheckPackages(unittest.TestCase):
    def mistakes(self, change):
        """What is found when packages.txt has been changed."""
        with tempfile.TemporaryDirectory() as directory:
            root = pathlib.Path(directory)
            for path in ROOT.iterdir():
                if path.name not in (".git", "build", "tools"):
                    (root / path.name).symlink_to(path)
            shutil.copytree(ROOT / "tools", root / "tools")
            (root / "tools/dev/packages.txt").write_text(change((DEV / "packages.txt").read_text()))
            result = run(DEV / "check-packages", root)
            self.assertEqual(result.returncode, 1 if result.stdout else 0, result.stderr)
            return result.stdout

    def test_list_is_complete(self):
        self.assertEqual(self.mistakes(lambda text: text), "")

    def test_missing_package_is_found(self):
        self.assertIn("header expat.h is in libexpat1-dev, which [build]", self.mistakes(lambda text: text.replace("libexpat1-dev\n", "")))
        self.assertIn("library libnettle.a is in nettle-dev", self.mistakes(lambda text: text.replace("nettle-dev\n", "")))
        self.assertIn("clang++-19 is in clang-19", self.mistakes(lambda text: text.replace("\nclang-19\n", "\n")))

    def test_package_of_the_tests_is_not_enough_for_the_program(self):
        moved = self.mistakes(lambda text: text.replace("libfmt-dev\n", "").replace("[tests]\n", "[tests]\nlibfmt-dev\n"))
        self.assertIn("header fmt/core.h is in libfmt-dev, which [build]", moved)
        self.assertIn("header gtest/gtest.h is in libgtest-dev, which no group", self.mistakes(lambda text: text.replace("libgtest-dev\n", "")))

    def test_package_that_nothing_uses_is_found(self):
        self.assertIn("nothing includes or links what zlib2-dev has", self.mistakes(lambda text: text.replace("[tests]\n", "[tests]\nzlib2-dev\n")))


class Build(unittest.TestCase):
    def test_configures_without_what_the_tests_need(self):
        with tempfile.TemporaryDirectory() as directory:
            result = run("cmake", "-S", ROOT, "--preset", "release", "-B", directory, "-DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("without tests", result.stdout)
            targets = run("ninja", "-C", directory, "-t", "targets", "all").stdout
            self.assertRegex(targets, r"(?m)^hull: phony")
            self.assertNotIn("unit_base", targets)


class Format(unittest.TestCase):
    def test_check_fails_on_unformatted_source_and_leaves_it(self):
        with tempfile.NamedTemporaryFile("w", suffix=".cc", dir=ROOT / "tests") as source:
            source.write("int   main( ){return 0;}\n")
            source.flush()
            self.assertNotEqual(run(DEV / "format", "--check", source.name).returncode, 0)
            self.assertEqual(pathlib.Path(source.name).read_text(), "int   main( ){return 0;}\n")

    def test_format_repairs_what_check_refuses(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "tests") as directory:
            source = pathlib.Path(directory, "a.cc")
            source.write_text("int   main( ){return 0;}\n")
            self.assertEqual(run(DEV / "format", source).returncode, 0)
            self.assertEqual(run(DEV / "format", "--check", source).returncode, 0)


class Lint(unittest.TestCase):
    def lint(self, source, text):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, source)
            path.write_text(text)
            command = f'[{{"directory":"{directory}","file":"{path}","command":"clang++-19 -std=c++23 -c {path}"}}]'
            pathlib.Path(directory, "compile_commands.json").write_text(command)
            pathlib.Path(directory, ".clang-tidy").write_text((ROOT / ".clang-tidy").read_text())
            return run(DEV / "lint", "-p", directory, path)

    def test_finding_fails(self):
        result = self.lint("a.cc", "int f(int *p) { if (p == 0) return 1; return sizeof(p) / sizeof(*p); }\n")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("sizeof", result.stdout)

    def test_clean_source_passes(self):
        self.assertEqual(self.lint("a.cc", "int f(int p) { return p; }\n").returncode, 0)

    def test_header_that_went_bad_is_seen_again(self):
        with tempfile.TemporaryDirectory() as directory:
            source, header = pathlib.Path(directory, "a.cc"), pathlib.Path(directory, "tools/a.h")
            header.parent.mkdir()
            header.write_text("inline int f(int *p) { return *p; }\n")
            source.write_text('#include "tools/a.h"\n')
            command = f'[{{"directory":"{directory}","file":"{source}","command":"clang++-19 -I. -std=c++23 -c {source}"}}]'
            pathlib.Path(directory, "compile_commands.json").write_text(command)
            pathlib.Path(directory, ".clang-tidy").write_text((ROOT / ".clang-tidy").read_text())
            self.assertEqual(run(DEV / "lint", "-p", directory, source).returncode, 0)
            header.write_text("inline int f(int *p) { return sizeof(p) / sizeof(*p); }\n")
            self.assertEqual(run(DEV / "lint", "-p", directory, source).returncode, 1)

    def test_bad_script_fails(self):
        result = self.lint("script", "#!/bin/bash\nrm $1\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("SC2086", result.stdout)


@dataclasses.dataclass
class Step:
    command: list
    environment: dict
    inputs: list


class Kept(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.root = pathlib.Path(self.directory.name)
        (self.root / "data").mkdir()
        (self.root / "data/a").write_text("a")
        (self.root / "program").write_text("program")
        self.step = Step(["program", "--all"], {"HULL": "hull"}, ["program", "data"])

    def results(self, **more):
        return KeptResults(self.root / "kept", self.root, **more)

    def keep(self):
        self.results().keep(self.step, self.results().key(self.step), 7)

    def found(self, **more):
        results = self.results(**more)
        return results.find(self.step, results.key(self.step))

    def test_nothing_is_known_at_first(self):
        self.assertIsNone(self.found())

    def test_result_of_an_unchanged_step_is_found(self):
        self.keep()
        self.assertEqual(self.found(), 7)
        self.assertIsNone(self.found(again=True))

    def test_what_changes_is_run_again(self):
        changes = {
            "the program": lambda: (self.root / "program").write_text("program 2"),
            "a file below a directory": lambda: (self.root / "data/a").write_text("b"),
            "a new file": lambda: (self.root / "data/b").write_text(""),
            "a file's name": lambda: (self.root / "data/b").rename(self.root / "data/c"),
            "the command": lambda: self.step.command.append("--more"),
            "a variable": lambda: self.step.environment.update(HULL="other"),
        }
        for what, change in changes.items():
            with self.subTest(what):
                self.keep()
                self.assertEqual(self.found(), 7)
                change()
                self.assertIsNone(self.found())

    def test_forgotten_or_torn_result_is_not_found(self):
        self.keep()
        self.results().forget(self.step)
        self.assertIsNone(self.found())
        self.keep()
        for file in (self.root / "kept").iterdir():
            file.write_text(file.read_text()[:-3])
        self.assertIsNone(self.found())


class Setup(unittest.TestCase):
    def test_nothing_missing_prints_nothing(self):
        result = run(DEV / "setup", "--tests")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))

    def test_unknown_option_is_a_usage_error(self):
        self.assertEqual(run(DEV / "setup", "--everything").returncode, 2)


if __name__ == "__main__":
    unittest.main()
