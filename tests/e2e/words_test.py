"""The words of the command line: taken as they are, never guessed, and a hint for those that do not exist."""

import unittest

from support import ERROR, OK, REFUSED, USAGE, HullTest

# A command of each verb that is right but for the words that a test adds.
VERBS = (["run", "--kernel", "hull:guest"], ["doctor"], ["nbd", "--socket", "s", "x.qcow2"], ["img", "info", "x.qcow2"],
         ["img", "create", "-f", "qcow2", "x.qcow2", "1M"], ["img", "check", "x.qcow2"], ["img", "convert", "x.qcow2", "y"],
         ["img", "map", "x.qcow2"], ["img", "measure", "x.qcow2"], ["img", "compare", "x.qcow2", "y"], ["img", "bench", "x.qcow2"],
         ["img", "dd", "if=x.qcow2", "of=y"], ["img", "snapshot", "-l", "x.qcow2"], ["img", "bitmap", "--add", "x.qcow2", "b"],
         ["img", "rebase", "-u", "-b", "", "x.qcow2"], ["img", "commit", "x.qcow2"], ["img", "amend", "-o", "compat=1.1", "x.qcow2"],
         ["img", "compact", "x.qcow2"])


class Words(HullTest):
    def in_directory(self, *words):
        return self.hull(*words, cwd=self.directory)

    def test_only_help_is_help(self):
        """A word that begins like -h, and nothing else that is wrong, is no success."""
        for command in VERBS:
            for word in ("-hda", "-help", "--hel", "-append", "--no-such-option", "-Zh"):
                with self.subTest(command=command, word=word):
                    result = self.in_directory(*command, word)
                    self.assertEqual(result.code, ERROR if command[0] == "img" else USAGE, result)
                    if word != "-append":  # an -a of some verbs, with a name behind it
                        self.assertIn(f"'{word}'", result.err)
                    self.assertEqual(result.out, "")
            with self.subTest(command=command):
                self.assertEqual(self.in_directory(*command, "--help").code, OK)
                self.assertEqual(self.in_directory(*command, "-h").code, OK)
                self.assertNotEqual(self.in_directory(*command, "--no-such-option", "--help").code, OK)

    def test_images_are_called_what_the_user_says(self):
        for name in ("[a]", "[a,b]", "a,b", "a=b", "a\nb", "{}", "--", "-x", " ", '"a"'):
            with self.subTest(name=name):
                created = self.in_directory("img", "create", "-q", "-f", "raw", "--", name, "1M")
                self.assertEqual(created.code, OK, created)
                self.assertEqual([p.name for p in self.directory.iterdir() if p.name != "state"], [name])
                copied = self.in_directory("img", "convert", "-O", "raw", "--", name, f"[{name}]")
                self.assertEqual(copied.code, OK, copied)
                self.assertEqual((self.directory / f"[{name}]").stat().st_size, 1 << 20)
                for path in self.directory.iterdir():
                    path.unlink() if path.is_file() else None

    def test_empty_words(self):
        self.expect_error(self.in_directory("run", "--kernel", "hull:guest", "--disk", ""), USAGE, "--disk", "which file")
        self.expect_error(self.in_directory("run", "--kernel", "hull:guest", "--memory", ""), USAGE, "--memory")
        self.expect_error(self.in_directory("run", "--kernel", "hull:guest", "--memory=", "--vcpus", "1"), USAGE, "--memory")
        self.expect_error(self.in_directory("run", ""), USAGE)
        self.expect_error(self.in_directory(""), USAGE, "no verb ''")
        self.assertEqual(self.in_directory("img", "info", "").code, ERROR)

    def test_value_may_look_like_an_option(self):
        self.expect_success(self.hull("run", "--kernel", "hull:guest", "--append", "--help"))
        self.expect_error(self.hull("run", "--kernel", "hull:guest", "--name", "--help"), REFUSED, "cannot begin with '-'")


class Hints(HullTest):
    def test_words_of_other_programs(self):
        for words, hint in ((["run", "-m", "512"], "--memory SIZE"), (["run", "-hda", "x"], "--hda FILE"), (["run", "-it"], "console"),
                            (["run", "--ram", "512"], "--memory SIZE"), (["run", "--network", "bridge=br0"], "--net tap"),
                            (["run", "-append", "x"], "--append TEXT"), (["run", "-nographic"], "on this terminal"), (["start", "web"], "hull run"),
                            (["list"], ".pid"), (["console", "web"], "--console"), (["shutdown", "web"], "SIGTERM"), (["destroy", "web"], "twice"),
                            (["convert", "a", "b"], "hull img convert"), (["virt-install"], "hull run")):
            with self.subTest(words=words):
                self.expect_error(self.hull(*words), USAGE, "here that is", hint)

    def test_slips_of_the_pen(self):
        for words, hint in ((["rum"], "'run'"), (["docter"], "'doctor'"), (["run", "--memroy", "1G"], "'--memory'"), (["run", "--mem", "1G"], "'--memory'"),
                            (["nbd", "--sokcet", "x"], "'--socket'")):
            with self.subTest(words=words):
                self.expect_error(self.hull(*words), USAGE, f"did you mean {hint}?")
        result = self.hull("img", "inof", "x")
        self.assertEqual((result.code, "did you mean 'info'?" in result.err), (ERROR, True), result)

    def test_file_without_a_verb(self):
        (self.directory / "web.xml").write_text("<domain/>")
        self.expect_error(self.hull(str(self.directory / "web.xml")), USAGE, "hull run")


    def test_image_in_the_place_of_a_document(self):
        image = self.qcow2(size=64 << 20)
        result = self.hull("validate", image.path)
        self.assertEqual(result.code, REFUSED, result)
        self.assertIn("is a qcow2 image and no domain XML", result.out)


class ExitCodes(HullTest):
    def test_what_cannot_be_understood_is_2(self):
        """hull(1), EXIT STATUS: whichever parser finds it."""
        for words in (["--memory", "1X"], ["--memory", "16E"], ["--net", "tap,mac=zz"], ["--disk", "d,cache=foo"], ["--disk", "d,format=vmdk"],
                      ["--timeout", "1s"], ["--vcpus", "two"], ["--layout", "foo"], ["--net", "tap,mtu=10"], ["--console", "telnet"],
                      ["--disk", "d,readonly"], ["--kernel", "hull:foo"], ["--grace", "-1"], ["--vcpus", "1", "--vcpus", "2"]):
            with self.subTest(words=words):
                kernel = [] if words[0] == "--kernel" else ["--kernel", "hull:guest"]
                self.expect_error(self.hull("run", *kernel, *words), USAGE, words[0])

    def test_what_is_understood_and_refused_is_3(self):
        for words in (["--name", "../x"], ["--vcpus", "0"], ["--memory", "0"]):
            with self.subTest(words=words):
                self.expect_error(self.hull("run", "--kernel", "hull:guest", *words), REFUSED)


if __name__ == "__main__":
    unittest.main()
