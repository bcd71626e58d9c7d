#include "tools/hull/command_line.h"

#include <gtest/gtest.h>

#include "tools/hull/completion.h"
#include "tools/hull/suggestion.h"

namespace hull::cli {
namespace {

// argv of a string literal's words.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::string& word : words_) pointers_.push_back(word.data());
  }
  operator Arguments() const { return pointers_; }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

TEST(CommandLine, OptionsFlagsAndPlainWordsAreStored) {
  CommandLine line("Does something.", "hull something");
  std::string file;
  std::vector<std::string> disks;
  std::optional<uint16_t> port;
  bool quiet = false;
  line.add_option("FILE", file, "a file").required();
  line.add_option("--disk", disks, "a disk");
  line.add_option("-p,--port", port, "a port");
  line.add_flag("-q", quiet, "say nothing");

  const auto parsed = line.parse(Words({"--disk", "a", "-p", "80", "x", "-q", "--disk=b"}));

  ASSERT_TRUE(parsed.has_value()) << parsed.error().message();
  EXPECT_TRUE(*parsed);
  EXPECT_EQ(file, "x");
  EXPECT_EQ(disks, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(port, 80);
  EXPECT_TRUE(quiet);
  EXPECT_EQ(line.count("--disk"), 2U);
}

TEST(CommandLine, MistakesAreNamed) {
  for (const auto& [words, mistake] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{}, "FILE is missing"},
           {{"x", "--number", "many"}, "many"},
           {{"x", "--number", "70000"}, "70000"},
           {{"x", "--kind", "blue"}, "blue"},
           {{"x", "--twice", "a", "--twice", "b"}, "--twice"},
           {{"x", "y"}, "y"}}) {
    CommandLine line;
    std::string file;
    std::string kind;
    std::string once;
    std::optional<uint16_t> number;
    line.add_option("FILE", file, "").required();
    line.add_option("--number", number, "");
    line.add_option("--kind", kind, "").one_of({"red", "green"});
    line.add_option("--twice", once, "");
    const auto parsed = line.parse(Words(words));
    ASSERT_FALSE(parsed.has_value()) << mistake;
    EXPECT_EQ(parsed.error().kind(), ErrorKind::kUsage);
    EXPECT_NE(parsed.error().message().find(mistake), std::string::npos)
        << parsed.error().message();
  }
}

TEST(CommandLine, TheLastOfTwoCountsIfThatIsWanted) {
  CommandLine line;
  std::string format;
  std::vector<std::string> options;
  line.add_option("-f", format, "");
  line.add_option("-o", options, "");
  line.let_last_count();
  ASSERT_TRUE(line.parse(Words({"-f", "raw", "-o", "1", "-f", "qcow2", "-o", "2"})).has_value());
  EXPECT_EQ(format, "qcow2");
  EXPECT_EQ(options, (std::vector<std::string>{"1", "2"}));
}

TEST(CommandLine, ActionsComeInTheOrderInWhichTheyWereGiven) {
  CommandLine line;
  line.add_action("--add", "");
  line.add_action("--merge", "SOURCE", "");
  ASSERT_TRUE(line.parse(Words({"--merge", "a", "--add", "--merge", "b"})).has_value());
  const auto given = line.in_order();
  ASSERT_EQ(given.size(), 3U);
  EXPECT_EQ(given[0], (std::pair<std::string, std::string>{"merge", "a"}));
  EXPECT_EQ(given[1].first, "add");
  EXPECT_EQ(given[2], (std::pair<std::string, std::string>{"merge", "b"}));
}

// What is said about the words, "" if they are taken.
std::string mistake_of(CommandLine& line, const std::vector<std::string>& words) {
  const auto parsed = line.parse(Words(words));
  return parsed ? "" : parsed.error().message();
}

TEST(CommandLine, WordsAreTakenAsTheyAre) {
  const std::string words[] = {"[a]", "[a,b]", "",      "a\nb", "a,b",  "a=b", "-",
                               "--",  "{}",    "\"a\"", "%%",   "true", " a ", "-x"};
  for (const std::string& word : words) {
    std::string value = "before";
    std::vector<std::string> list;
    std::vector<std::string> plain;
    CommandLine line;
    line.add_option("WORD", plain, "");
    line.add_option("-v,--value", value, "");
    line.add_option("-l,--list", list, "");

    EXPECT_EQ(
        mistake_of(line, {"--value", word, "-l", word, "--list=" + word, "--", word, "x", word}),
        "");

    EXPECT_EQ(value, word);
    EXPECT_EQ(list, (std::vector<std::string>{word, word}));
    EXPECT_EQ(plain, (std::vector<std::string>{word, "x", word}));
  }
}

TEST(CommandLine, EmptyValueDoesNotTakeTheNextWord) {
  std::string value = "before";
  std::string file;
  CommandLine line;
  line.add_option("FILE", file, "");
  line.add_option("--value", value, "");
  EXPECT_EQ(mistake_of(line, {"--value=", "file"}), "");
  EXPECT_EQ(value, "");
  EXPECT_EQ(file, "file");
}

TEST(CommandLine, OnlyTheWordsForHelpAskForIt) {
  for (const char* word : {"-hda", "-help", "-qh", "-hq", "--hel", "--help=x", "-h="}) {
    CommandLine line;
    bool quiet = false;
    line.add_flag("-q,--quiet", quiet, "");
    EXPECT_NE(mistake_of(line, {word}), "") << word;
  }
  CommandLine line;
  EXPECT_NE(mistake_of(line, {"--foo", "--help"}).find("'--foo'"), std::string::npos);
}

TEST(CommandLine, NamesAreWrittenInFull) {
  CommandLine line;
  std::string memory;
  bool rng = false;
  line.add_option("--memory SIZE", memory, "");
  line.add_flag("--no-rng", rng, "");
  EXPECT_EQ(mistake_of(line, {"--mem", "1G"}),
            "there is no option '--mem'; did you mean '--memory'?");
  EXPECT_EQ(mistake_of(line, {"--mem=1G"}),
            "there is no option '--mem=1G'; did you mean '--memory'?");
  EXPECT_EQ(mistake_of(line, {"--no-rng=yes"}), "--no-rng takes no value");
  EXPECT_EQ(mistake_of(line, {"--memory"}), "--memory wants its SIZE");
  EXPECT_EQ(memory, "");
}

TEST(CommandLine, ShortOptionsMayStandTogether) {
  CommandLine line;
  std::string format;
  bool progress = false;
  line.add_option("-O", format, "");
  line.add_flag("-p", progress, "");
  EXPECT_EQ(mistake_of(line, {"-pOqcow2"}), "");
  EXPECT_EQ(format, "qcow2");
  EXPECT_TRUE(progress);
  EXPECT_EQ(mistake_of(line, {"-pz"}), "there is no option '-pz'");
}

TEST(CommandLine, ManyMistakesAreToldAtOnceEachOnce) {
  CommandLine line;
  line.know_foreign_words(foreign_run_options());
  EXPECT_EQ(mistake_of(line, {"-m", "512", "-smp", "2", "--ram=1"}),
            "there is no option '-m'; here that is --memory SIZE\n"
            "there is no option '-smp'; here that is --vcpus N\n"
            "there is no option '--ram=1'; here that is --memory SIZE");
}

TEST(CommandLine, NumbersAreDecimalAndNothingElse) {
  for (const char* word :
       {"true", "0x10", "1'0", "1_0", "1.0", " 1", "1 ", "+1", "-1", "", "4294967296", "1k"}) {
    CommandLine line;
    uint32_t number = 7;
    line.add_option("--number", number, "");
    EXPECT_NE(mistake_of(line, {"--number", word}), "") << word;
  }
  CommandLine line;
  uint32_t number = 7;
  line.add_option("--number", number, "");
  EXPECT_EQ(mistake_of(line, {"--number", "010"}), "");
  EXPECT_EQ(number, 10U);
}

TEST(CommandLine, HelpNamesArgumentsAndKeepsToItsWidth) {
  CommandLine line("Does something that takes a while to say, because it is said at some length.",
                   "hull something");
  std::string file;
  std::string disk;
  bool quiet = false;
  line.add_option("FILE", file, "what it is done to").required();
  line.add_option("-d,--disk FILE[,format=raw|qcow2][,readonly=on|off][,serial=S]", disk,
                  "a disk, which is explained in more words than go into one line");
  line.add_flag("-q", quiet, "say nothing");

  const std::string help = line.help(60);

  EXPECT_TRUE(help.starts_with("usage: hull something FILE [OPTION...]\n")) << help;
  EXPECT_NE(help.find("\n  -d,--disk FILE[,format=raw|qcow2]"), std::string::npos) << help;
  EXPECT_NE(help.find("\n  -q                          say nothing\n"), std::string::npos) << help;
  size_t begin = 0;
  for (size_t end = help.find('\n'); end != std::string::npos;
       begin = end + 1, end = help.find('\n', begin)) {
    EXPECT_LE(end - begin, 60U) << help.substr(begin, end - begin);
    EXPECT_FALSE(end > begin && help[end - 1] == ' ') << help.substr(begin, end - begin);
  }
}

TEST(Suggestion, IsTheNearestWordIfItIsNear) {
  const std::vector<std::string> verbs{"run", "doctor", "img", "nbd"};
  EXPECT_EQ(suggestion("rnu", verbs, {}), "; did you mean 'run'?");
  EXPECT_EQ(suggestion("docter", verbs, {}), "; did you mean 'doctor'?");
  EXPECT_EQ(suggestion("frobnicate", verbs, {}), "");
  EXPECT_EQ(suggestion("", verbs, {}), "");
  EXPECT_EQ(suggestion(std::string(100000, 'x'), verbs, {}), "");
  EXPECT_EQ(suggestion("shutdwn", verbs, {}), "");
  EXPECT_NE(suggestion("shutdown", verbs, foreign_verbs()).find("SIGTERM"), std::string::npos);
}

TEST(Completion, ValuesComeFromWhatHelpShows) {
  const char* const kDisk = "FILE[,format=raw|qcow2][,readonly=on|off][,serial=S]";
  EXPECT_EQ(candidates_for_value(kDisk, "a"), (Candidates{"@files 0"}));
  EXPECT_EQ(candidates_for_value(kDisk, "a,"),
            (Candidates{"a,format=", "a,readonly=", "a,serial="}));
  EXPECT_EQ(candidates_for_value(kDisk, "a,format="),
            (Candidates{"a,format=raw", "a,format=qcow2"}));
  EXPECT_EQ(candidates_for_value(kDisk, "a,format=q"), (Candidates{"a,format=qcow2"}));
  EXPECT_EQ(candidates_for_value(kDisk, "a,serial="), Candidates{});
  const char* const kConsole = "stdio|file:PATH|pty|unix:PATH|null";
  EXPECT_EQ(candidates_for_value(kConsole, ""),
            (Candidates{"stdio", "file:", "pty", "unix:", "null"}));
  EXPECT_EQ(candidates_for_value(kConsole, "unix:/r"), (Candidates{"@files 5"}));
  EXPECT_EQ(candidates_for_value("hull:guest|FILE", "h"), (Candidates{"hull:guest", "@files 0"}));
  EXPECT_EQ(candidates_for_value("DIR", ""), (Candidates{"@directories 0"}));
  EXPECT_EQ(candidates_for_value("SIZE", ""), Candidates{});
}

TEST(Completion, LastWordIsAnOptionItsValueOrAPlainWord) {
  CommandLine line;
  std::string file;
  std::string size;
  std::string format;
  std::string name;
  bool quiet = false;
  line.add_option("FILE", file, "");
  line.add_option("SIZE", size, "");
  line.add_option("-f,--format", format, "").one_of({"raw", "qcow2"});
  line.add_option("--file-name FILE", name, "");
  line.add_flag("-q,--quiet", quiet, "");
  const auto offered = [&line](const std::vector<std::string>& words) {
    return candidates_for(line, Words(words));
  };
  EXPECT_EQ(offered({""}), (Candidates{"@files 0"}));
  EXPECT_EQ(offered({"--f"}), (Candidates{"--format", "--file-name"}));
  EXPECT_EQ(offered({"-"}),
            (Candidates{"-h", "--help", "-f", "--format", "--file-name", "-q", "--quiet"}));
  EXPECT_EQ(offered({"-f", ""}), (Candidates{"raw", "qcow2"}));
  EXPECT_EQ(offered({"--format=q"}), (Candidates{"--format=qcow2"}));
  EXPECT_EQ(offered({"--file-name=x"}), (Candidates{"@files 12"}));
  EXPECT_EQ(offered({"-q", "x", ""}), Candidates{});
  EXPECT_EQ(offered({"x", "y", ""}), Candidates{});
  EXPECT_EQ(offered({"--", "-"}), (Candidates{"@files 0"}));
}

}  // namespace
}  // namespace hull::cli
