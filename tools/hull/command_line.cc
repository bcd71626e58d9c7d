#include "tools/hull/command_line.h"

#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string_view>

#include "tools/hull/suggestion.h"

namespace hull::cli {

namespace {

constexpr int kPlainWord = 1;   // what getopt_long() returns for a word that is no option
constexpr int kLongBase = 256;  // and, plus its index, for a long option
constexpr size_t kMaxMistakes = 10;

CommandLine::Completer& completer() {
  static CommandLine::Completer one;
  return one;
}

// Decimal digits and nothing else, up to what `value` holds.
template <class Number>
Result<void> store_number(const std::string& word, Number& value) {
  const char* const end = word.data() + word.size();
  const auto parsed = std::from_chars(word.data(), end, value);
  if (word.empty() || parsed.ec != std::errc() || parsed.ptr != end)
    return fail(ErrorKind::kUsage, "'{}' is not a number from 0 to {}", word,
                std::numeric_limits<Number>::max());
  return {};
}

}  // namespace

std::string OptionSpec::name() const {
  if (positional) return argument;
  return long_names.empty() ? "-" + short_names.substr(0, 1) : "--" + long_names.front();
}

CommandOption CommandOption::required() {
  spec_->required = true;
  return *this;
}

CommandOption CommandOption::one_of(std::initializer_list<const char*> words) {
  spec_->words.assign(words.begin(), words.end());
  spec_->argument.clear();
  for (const char* word : words)
    spec_->argument += (spec_->argument.empty() ? "" : "|") + std::string(word);
  return *this;
}

CommandLine::CommandLine(std::string description, std::string name)
    : description_(std::move(description)), name_(std::move(name)) {
  add("-h,--help", "print this and do nothing", nullptr);
}
CommandLine::~CommandLine() = default;

// A null `default_argument`: it takes none.
OptionSpec& CommandLine::add(const char* names, const char* help, const char* default_argument) {
  OptionSpec& spec = *options_.emplace_back(std::make_unique<OptionSpec>());
  spec.help = help;
  const std::string_view text = names;
  if (!text.starts_with('-')) {
    spec.positional = true;
    spec.argument = text;
    return spec;
  }
  const size_t names_end = std::min(text.find(' '), text.size());
  if (default_argument != nullptr)
    spec.argument = names_end < text.size() ? text.substr(names_end + 1) : default_argument;
  std::string_view rest = text.substr(0, names_end);
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    if (name.starts_with("--"))
      spec.long_names.emplace_back(name.substr(2));
    else
      spec.short_names += name.substr(1);
  }
  return spec;
}

CommandOption CommandLine::add_option(const char* names, std::string& value, const char* help) {
  OptionSpec& spec = add(names, help, "VALUE");
  spec.store = [&value](const std::string& word) -> Result<void> {
    value = word;
    return {};
  };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_option(const char* names, std::vector<std::string>& values,
                                      const char* help) {
  OptionSpec& spec = add(names, help, "VALUE");
  spec.list = true;
  spec.store = [&values](const std::string& word) -> Result<void> {
    values.push_back(word);
    return {};
  };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_option(const char* names, uint32_t& value, const char* help) {
  OptionSpec& spec = add(names, help, "N");
  spec.store = [&value](const std::string& word) { return store_number(word, value); };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_option(const char* names, std::optional<std::string>& value,
                                      const char* help) {
  OptionSpec& spec = add(names, help, "VALUE");
  spec.store = [&value](const std::string& word) -> Result<void> {
    value = word;
    return {};
  };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_option(const char* names, std::optional<uint16_t>& value,
                                      const char* help) {
  OptionSpec& spec = add(names, help, "N");
  spec.store = [&value](const std::string& word) { return store_number(word, value.emplace()); };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_option(const char* names, std::optional<uint32_t>& value,
                                      const char* help) {
  OptionSpec& spec = add(names, help, "N");
  spec.store = [&value](const std::string& word) { return store_number(word, value.emplace()); };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_flag(const char* names, bool& value, const char* help) {
  OptionSpec& spec = add(names, help, nullptr);
  spec.list = true;
  spec.store = [&value](const std::string&) -> Result<void> {
    value = true;
    return {};
  };
  return CommandOption(&spec);
}
CommandOption CommandLine::add_action(const char* names, const char* help) {
  OptionSpec& spec = add(names, help, nullptr);
  spec.list = true;
  return CommandOption(&spec);
}
CommandOption CommandLine::add_action(const char* names, const char* argument, const char* help) {
  OptionSpec& spec = add(names, help, argument);
  spec.list = true;
  return CommandOption(&spec);
}

void CommandLine::set_completer(Completer one) { completer() = std::move(one); }

void CommandLine::let_last_count() {
  for (const auto& option : options_) option->last_counts = !option->positional;
}

size_t CommandLine::count(const char* name) const {
  for (const auto& option : options_)
    if (option->name() == name) return option->count;
  return 0;
}

// One pass over the words.
class CommandLine::Reader {
 public:
  Reader(CommandLine& line, Arguments arguments) : line_(line) {
    // The first one is the program's name, which is not looked at.
    words_.push_back(line_.name_.data());
    words_.insert(words_.end(), arguments.begin(), arguments.end());
    words_.push_back(nullptr);
    for (size_t i = 0; i < line_.options_.size(); ++i) {
      const OptionSpec& spec = *line_.options_[i];
      const int takes = spec.argument.empty() ? no_argument : required_argument;
      for (const std::string& name : spec.long_names)
        long_.push_back({name.c_str(), takes, nullptr, kLongBase + static_cast<int>(i)});
      if (spec.positional) continue;
      for (const char letter : spec.short_names)
        short_ += std::string(1, letter) + (spec.argument.empty() ? "" : ":");
    }
    long_.push_back({});
  }

  void read() {
    ::opterr = 0;
    ::optind = 0;  // a new run, in glibc
    for (;;) {
      const auto at = static_cast<size_t>(std::max(::optind, 1));
      const int got = ::getopt_long(static_cast<int>(words_.size() - 1), words_.data(),
                                    short_.c_str(), long_.data(), nullptr);
      if (got == -1) break;
      take(got, at);
    }
    for (auto i = static_cast<size_t>(::optind); i + 1 < words_.size(); ++i)
      plain_words_.emplace_back(words_[i]);
  }

  bool help_wanted() const { return help_wanted_; }
  const std::vector<std::string>& plain_words() const { return plain_words_; }
  const std::vector<std::string>& mistakes() const { return mistakes_; }

 private:
  // `at`: the word that was being read.
  void take(int got, size_t at) {
    if (got == kPlainWord) {
      plain_words_.emplace_back(::optarg);
    } else if (got == '?' || got == ':') {
      take_mistake(got, at);
    } else {
      OptionSpec* const spec = find(got);
      const std::string_view word = words_[at];
      if (!is_written_in_full(*spec, word, got))
        unknown(at);
      else if (spec == line_.options_.front().get())
        help_wanted_ = true;
      else
        store(*spec, spec->argument.empty() ? "" : ::optarg);
    }
  }

  OptionSpec* find(int got) const {
    if (got >= kLongBase) return line_.options_[static_cast<size_t>(got - kLongBase)].get();
    for (const auto& option : line_.options_)
      if (option->short_names.find(static_cast<char>(got)) != std::string::npos)
        return option.get();
    return nullptr;
  }

  // getopt_long() takes "--mem" for "--memory", and the h of "-hda" for help.
  bool is_written_in_full(const OptionSpec& spec, std::string_view word, int got) const {
    if (got < kLongBase) return &spec != line_.options_.front().get() || word == "-h";
    const std::string_view name = word.substr(2, word.find('=') - 2);
    return std::ranges::find(spec.long_names, name) != spec.long_names.end();
  }

  void take_mistake(int got, size_t at) {
    const OptionSpec* const spec = ::optopt == 0 ? nullptr : find(::optopt);
    const std::string_view word = words_[at];
    if (spec == nullptr || !is_written_in_full(*spec, word, ::optopt))
      unknown(at);
    else if (got == ':')
      mistakes_.push_back(fmt::format("{} wants its {}", word, spec->argument));
    else
      mistakes_.push_back(fmt::format("{} takes no value", spec->name()));
  }

  // Each word once, however many letters it has.
  void unknown(size_t at) {
    if (at == last_unknown_) return;
    last_unknown_ = at;
    const std::string word = words_[at];
    std::vector<std::string> names;
    for (const auto& option : line_.options_)
      for (const std::string& name : option->long_names) names.push_back("--" + name);
    mistakes_.push_back(
        fmt::format("there is no option '{}'{}", word, suggestion(word, names, line_.foreign_)));
  }

  void store(OptionSpec& spec, const std::string& value) {
    line_.in_order_.emplace_back(spec.long_names.empty() ? "" : spec.long_names.front(), value);
    if (auto stored = line_.store(spec, value); !stored)
      mistakes_.push_back(stored.error().message());
  }

  CommandLine& line_;
  std::vector<char*> words_;
  std::string short_ = "-:";  // in order, and ':' where an argument is missing
  std::vector<::option> long_;
  std::vector<std::string> plain_words_;
  std::vector<std::string> mistakes_;
  size_t last_unknown_ = 0;
  bool help_wanted_ = false;
};

Result<void> CommandLine::store(OptionSpec& spec, const std::string& word) {
  if (++spec.count > 1 && !spec.list && !spec.last_counts)
    return fail(ErrorKind::kUsage, "{} is given twice", spec.name());
  if (!spec.words.empty() && std::ranges::find(spec.words, word) == spec.words.end())
    return fail(ErrorKind::kUsage, "{} {}: say one of {}", spec.name(), word,
                fmt::format("{}", fmt::join(spec.words, ", ")));
  if (spec.store == nullptr) return {};
  return spec.store(word).with_context(spec.name());
}

// The words that stand by themselves, in the order of their descriptions.
Result<void> CommandLine::place_words(std::span<const std::string> words) {
  for (const auto& option : options_) {
    if (!option->positional) continue;
    const size_t taken = std::min<size_t>(option->list ? words.size() : 1, words.size());
    for (const std::string& word : words.first(taken)) TRY(store(*option, word));
    words = words.subspan(taken);
    if (option->required && option->count == 0)
      return fail(ErrorKind::kUsage, "{} is missing", option->name());
  }
  if (!words.empty())
    return fail(ErrorKind::kUsage, "there is nothing that '{}' could be", words.front());
  for (const auto& option : options_)
    if (option->required && option->count == 0)
      return fail(ErrorKind::kUsage, "{} is missing", option->name());
  return {};
}

Result<bool> CommandLine::parse(Arguments arguments) {
  if (completer()) {
    completer()(*this, arguments);
    return false;
  }
  Reader reader(*this, arguments);
  reader.read();
  if (!reader.mistakes().empty()) {
    const auto shown =
        std::span(reader.mistakes()).first(std::min(reader.mistakes().size(), kMaxMistakes));
    return std::unexpected(Error::list(ErrorKind::kUsage, shown));
  }
  if (reader.help_wanted()) {
    fmt::print("{}", help());
    return false;
  }
  TRY(place_words(reader.plain_words()));
  return true;
}

}  // namespace hull::cli
