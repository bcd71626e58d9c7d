// The options of a verb. CLI11 does the work, in command_line.cc alone: its header is so large that
// each file which includes it takes seconds longer to compile.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tools/hull/verbs.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace hull::cli {

// One option of a CommandLine, which owns it.
class CommandOption {
 public:
  explicit CommandOption(CLI::Option* option) : option_(option) {}

  CommandOption required();
  CommandOption one_of(std::initializer_list<const char*> words);
  // How often it was given.
  size_t count() const;

 private:
  CLI::Option* option_;
};

class CommandLine {
 public:
  // What the verb does, and "hull VERB"; both for --help.
  explicit CommandLine(std::string description = "", std::string name = "");
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // `names` is "-f,--format", or "FILE" for a word that stands by itself. `value` keeps what it has
  // if the user says nothing, and must outlive the parsing. A list takes one word each time its
  // option is given, or all words that stand by themselves.
  CommandOption add_option(const char* names, std::string& value, const char* help);
  CommandOption add_option(const char* names, std::vector<std::string>& values, const char* help);
  CommandOption add_option(const char* names, uint32_t& value, const char* help);
  CommandOption add_option(const char* names, std::optional<std::string>& value, const char* help);
  CommandOption add_option(const char* names, std::optional<uint16_t>& value, const char* help);
  CommandOption add_option(const char* names, std::optional<uint32_t>& value, const char* help);
  CommandOption add_flag(const char* names, bool& value, const char* help);
  // For in_order() alone: with an argument called `argument`, or without one.
  CommandOption add_action(const char* names, const char* help);
  CommandOption add_action(const char* names, const char* argument, const char* help);
  // Shown below the options.
  void footer(std::string text);
  // Of options that are given twice the last counts, as with getopt; else that is a mistake.
  void let_last_count();

  // False: it printed the help that the user asked for. kUsage: says which word is wrong.
  Result<bool> parse(Arguments arguments);
  size_t count(const char* name) const;
  // What was given: the first long name without its dashes ("" if there is none), and the argument.
  std::vector<std::pair<std::string, std::string>> in_order() const;

  // For completion: "--format", one for each option that has a long name; all of them and "-f".
  std::vector<std::string> long_names() const;
  std::vector<std::string> all_names() const;

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace hull::cli
