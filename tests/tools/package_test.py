"""What users get who do not build in the tree: the installed tree, the subproject, the Debian package.

HULL_BUILD names the build directory (default: build/release), in which hull has been built.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HULL_BUILD", ROOT / "build/release")).resolve()
COMPILERS = ["-G", "Ninja", "-DCMAKE_C_COMPILER=clang-19", "-DCMAKE_CXX_COMPILER=clang++-19"]
MAX_DEB_BYTES = 3 << 20


def run(*command, **options):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return result.stdout


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hull-package-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def project(self, text):
        source = self.directory / "project"
        source.mkdir()
        (source / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES C CXX ASM)\n" + text)
        for example in (ROOT / "docs/examples").glob("*.cc"):
            shutil.copy(example, source)
        return source

    def expect_example(self, program):
        output = run(program, self.directory / "example.qcow2")
        self.assertIn("changed: after!\nsnapshot: before\n", output)


class Installed(Case):
    def setUp(self):
        super().setUp()
        self.prefix = self.directory / "prefix"
        run("cmake", "--install", BUILD, "--prefix", self.prefix)

    def test_program(self):
        self.assertRegex(run(self.prefix / "bin/hull", "--version"), r"^hull \d")
        self.assertRegex(run(self.prefix / "bin/hull-img", "--version"), r"^hull-img version \d")
        self.assertIn("hull run", run("man", "-M", self.prefix / "share/man", "hull-run", env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "200"}))
        for name in ("bash-completion/completions/hull-img", "zsh/site-functions/_hull", "fish/vendor_completions.d/hull.fish", "doc/hull/NOTICE"):
            self.assertTrue((self.prefix / "share" / name).is_file(), name)

    def test_cmake_project_on_it(self):
        source = self.project("find_package(hull 0.1 REQUIRED)\nadd_executable(image image.cc)\ntarget_link_libraries(image hull::blockcore)\n"
                              "add_executable(domains domains.cc)\ntarget_link_libraries(domains hull::vmm)\n")
        run("cmake", "-S", source, "-B", source / "build", *COMPILERS, f"-DCMAKE_PREFIX_PATH={self.prefix}")
        run("ninja", "-C", source / "build")
        self.expect_example(source / "build/image")
        self.assertRegex(run(source / "build/domains"), r"(?s)short: ended \(it switched itself off\).*endless: ended \(the short one is done\)")

    def test_pkg_config_on_it(self):
        directories = ":".join(str(p.parent) for p in self.prefix.rglob("hull.pc"))
        flags = run("pkg-config", "--cflags", "--libs", "hull", env={**os.environ, "PKG_CONFIG_PATH": directories}).split()
        run("clang++-19", "-std=c++2b", ROOT / "docs/examples/image.cc", "-o", self.directory / "image", *flags)
        self.expect_example(self.directory / "image")

    def test_uninstall_leaves_nothing(self):
        run("ninja", "-C", BUILD, "uninstall")
        self.assertEqual([p for p in self.prefix.rglob("*") if not p.is_dir()], [])
        self.assertEqual([p for p in self.prefix.rglob("hull")], [])


class Subproject(Case):
    def test_configures_and_offers_the_libraries_alone(self):
        source = self.project(f"add_subdirectory({ROOT} hull)\nadd_executable(image image.cc)\ntarget_link_libraries(image hull::blockcore hull::vmm)\n")
        run("cmake", "-S", source, "-B", source / "build", *COMPILERS)
        commands = run("ninja", "-C", source / "build", "-t", "commands", "image")
        self.assertIn("image.cc", commands)
        self.assertNotIn("tools/hull", commands)
        targets = run("ninja", "-C", source / "build", "-t", "targets", "all")
        self.assertNotRegex(targets, r"(?m)^(unit_|example_image|uninstall)")


class DebianPackage(Case):
    def setUp(self):
        super().setUp()
        run("ninja", "-C", BUILD, "deb")
        self.package = max(BUILD.glob("hull_*_amd64.deb"), key=lambda p: p.stat().st_mtime)

    def test_contents(self):
        self.assertLessEqual(self.package.stat().st_size, MAX_DEB_BYTES)
        root = self.directory / "root"
        run("dpkg-deb", "-x", self.package, root)
        self.assertRegex(run(root / "usr/bin/hull", "--version"), r"^hull \d")
        names = {str(p.relative_to(root)) for p in root.rglob("*")}
        for page in (ROOT / "docs/man").iterdir():
            self.assertIn(f"usr/share/man/man{page.name[-1]}/{page.name}.gz", names)
        self.assertIn("usr/share/zsh/vendor-completions/_hull", names)
        self.assertTrue(any(name.endswith("systemd/system/hull@.service") for name in names))
        self.assertNotIn("Depends", run("dpkg-deb", "-f", self.package))

    def test_notice_names_all_that_is_linked(self):
        notice = (ROOT / "NOTICE").read_text()
        linked = [word for words in re.findall(r"\bLIBRARIES ([a-z0-9_ ]+)\)", (ROOT / "CMakeLists.txt").read_text()) for word in words.split()]
        self.assertIn("nettle", linked)
        for name in linked:
            self.assertRegex(notice, rf"(?m)^(lib)?{name} |\({name}\) ", name)
        copies = set(re.findall(r"third-party/(\S+)\.gz", run("dpkg-deb", "-c", self.package)))
        self.assertEqual(copies, set(re.findall(r"\b(\S+-dev)\b", notice)))

    def test_lintian_finds_nothing(self):
        result = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", str(self.package)], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
