// The options of a verb: what it takes, --help, completion and mistakes, from one description. The
// C library's getopt_long() takes the words apart, and nothing is guessed: each word is taken as it
// is, names are written in full, help is asked for by the words -h and --help alone.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "tools/hull/foreign_words.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

// One option, or one word that stands by itself.
struct OptionSpec {
  std::string short_names;              // "f": each letter is one
  std::vector<std::string> long_names;  // without dashes
  std::string argument;                 // as --help shows it; empty: it takes none
  std::string help;
  std::vector<std::string> words;  // if not empty: the only values
  bool positional = false;
  bool list =
      false;  // may be given again and again; a positional one takes all words that are left
  bool required = false;
  bool last_counts = false;
  std::function<Result<void>(const std::string& word)> store;
  size_t count = 0;  // how often it was given

  std::string name() const;  // "--format", "-f" if there is no long name, "FILE"
};

// A handle of one option of a CommandLine, which owns it.
class CommandOption {
 public:
  explicit CommandOption(OptionSpec* spec) : spec_(spec) {}

  CommandOption required();
  CommandOption one_of(std::initializer_list<const char*> words);
  // How often it was given.
  size_t count() const { return spec_->count; }

 private:
  OptionSpec* spec_;
};

class CommandLine {
 public:
  // What the verb does, and "hull VERB"; both for --help.
  explicit CommandLine(std::string description = "", std::string name = "");
  ~CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  // `names` is "-f,--format FMT", or "FILE" for a word that stands by itself. What follows the
  // names is the argument: people read it in --help, completion takes it apart (completion.h), e.g.
  // "raw|qcow2", "FILE[,readonly=on|off]". `value` keeps what it has if the user says nothing, and
  // must outlive the parsing. A list takes one word each time its option is given, or all words
  // that stand by themselves.
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
  void footer(std::string text) { footer_ = std::move(text); }
  // What users of other programs may type instead of an option.
  void know_foreign_words(std::span<const ForeignWord> words) { foreign_ = words; }
  // Of options that are given twice the last counts, as with getopt; else that is a mistake.
  void let_last_count();

  // False: it printed the help that the user asked for, or completions. kUsage: says which words
  // are wrong, a line for each, and what to write instead where that is known.
  Result<bool> parse(Arguments arguments);
  size_t count(const char* name) const;
  // What was given: the first long name without its dashes ("" if there is none), and the argument.
  const std::vector<std::pair<std::string, std::string>>& in_order() const { return in_order_; }

  const std::vector<std::unique_ptr<OptionSpec>>& options() const { return options_; }
  // At most `columns` wide where words allow it.
  std::string help(size_t columns = 100) const;

  // From now on parse() hands over the words instead: for completion alone. Null: no longer.
  using Completer = std::function<void(const CommandLine&, Arguments)>;
  static void set_completer(Completer completer);

 private:
  class Reader;

  OptionSpec& add(const char* names, const char* help, const char* default_argument);
  Result<void> store(OptionSpec& spec, const std::string& word);
  Result<void> place_words(std::span<const std::string> words);

  std::string description_;
  std::string name_;
  std::string footer_;
  std::span<const ForeignWord> foreign_;
  std::vector<std::unique_ptr<OptionSpec>> options_;  // --help is the first
  std::vector<std::pair<std::string, std::string>> in_order_;
};

}  // namespace hull::cli
