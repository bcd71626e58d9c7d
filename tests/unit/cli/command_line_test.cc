#include "tools/hull/command_line.h"

#include <gtest/gtest.h>

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
           {{}, "FILE is required"},
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

TEST(CommandLine, NamesAreListedForCompletion) {
  CommandLine line;
  std::string format;
  line.add_option("-f,--format", format, "");
  EXPECT_EQ(line.long_names(), (std::vector<std::string>{"--help", "--format"}));
  EXPECT_EQ(line.all_names(), (std::vector<std::string>{"-h", "--help", "-f", "--format"}));
}

}  // namespace
}  // namespace hull::cli
