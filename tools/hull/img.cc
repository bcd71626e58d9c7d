#include "tools/hull/img.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "base/text.h"
#include "blockcore/format_table.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img_progress.h"
#include "tools/hull/no_memory.h"
#include "tools/hull/suggestion.h"

namespace hull::cli {
namespace {

constexpr Verb kImgVerbs[] = {
    {"create", "make a new image, or an overlay over another", img_create},
    {"info", "say what an image is", img_info},
    {"check", "look for errors and leaks in an image", img_check},
    {"snapshot", "list, make, go back to and delete snapshots", img_snapshot},
    {"bitmap", "change the persistent dirty bitmaps of an image", img_bitmap},
    {"amend", "give an image other features", img_amend},
    {"map", "say which parts of an image hold data, and where", img_map},
    {"resize", "give an image another size", img_resize},
    {"rebase", "give an overlay another backing file, or none", img_rebase},
    {"commit", "write an overlay into its backing file", img_commit},
    {"compact", "give back the space that an image does not need", img_compact},
    {"compare", "say whether two images have the same contents", img_compare},
    {"measure", "say how large a new image would be", img_measure},
    {"convert", "copy an image into another format, or compress it", img_convert},
    {"dd", "copy a part of an image", img_dd},
    {"bench", "time requests to an image", img_bench},
};

// What the user has called: set once, before anything else runs.
constinit std::string_view program_name = "hull img";

// What may follow the verb, in one line, as its own description says.
std::string synopsis(const CommandLine& app) {
  std::string options;
  std::string words;
  for (const auto& option : app.options()) {
    if (option->positional) {
      const std::string word = option->argument + (option->list ? "..." : "");
      words += option->required ? " " + word : " [" + word + "]";
      continue;
    }
    if (option->name() == "--help") continue;
    const bool has_letter = !option->short_names.empty();
    options += " [" + (has_letter ? "-" + option->short_names.substr(0, 1) : option->name());
    if (!option->argument.empty()) options += (has_letter ? " " : "=") + option->argument;
    options += "]";
  }
  return options + words;
}

int print_img_help() {
  fmt::print("usage: {} VERB [OPTION...]\n\nDisk images, as qemu-img does them.\n\n", program_name);
  for (const Verb& verb : kImgVerbs) fmt::print("  {:<10} {}\n", verb.name, verb.summary);
  // Scripts look here for what a verb takes, and for the formats.
  fmt::print("\nVerbs and their options:\n");
  for (const Verb& verb : kImgVerbs) {
    CommandLine::set_completer([&verb](const CommandLine& app, Arguments) {
      fmt::print("  {}{}\n", verb.name, synopsis(app));
    });
    verb.run({});
  }
  CommandLine::set_completer(nullptr);
  fmt::print(
      "\n'{} VERB --help' explains the options of a verb.\nSIZE may have a suffix k, M, G, T, P or "
      "E.\n\nSupported formats: {}\n",
      program_name, blockcore::openable_formats(" "));
  return 0;
}

int img_no_verb(std::string_view word) {
  std::vector<std::string> names;
  for (const Verb& verb : kImgVerbs) names.emplace_back(verb.name);
  return img_fail(
      with_hint({fmt::format("Command not found: {}{}", word, suggestion(word, names, {}))}));
}

// Hints in messages name the program too.
std::string under_its_name(std::string message) {
  constexpr std::string_view kHint = "Try 'hull img --help'";
  if (const size_t at = message.find(kHint); at != std::string::npos)
    message.replace(at, kHint.size(), fmt::format("Try '{} --help'", program_name));
  return message;
}

}  // namespace

Error with_hint(std::vector<std::string> lines) {
  lines.emplace_back("Try 'hull img --help' for more information");
  return Error::list(ErrorKind::kUsage, lines);
}

int img_fail(const Error& error) {
  std::fflush(stdout);
  std::string before = fmt::format("{}: ", program_name);
  for (const std::string_view line : error.lines())
    fmt::print(stderr, "{}{}\n", std::exchange(before, ""),
               printable(under_its_name(std::string(line))));
  return kImgFailed;
}

void img_warn(const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "{}: warning: {}\n", program_name, printable(message));
}

std::optional<int> parse_img_words(CommandLine& app, Arguments arguments) {
  app.let_last_count();
  const auto parsed = app.parse(arguments);
  if (!parsed) {
    const auto lines = parsed.error().lines();
    return img_fail(with_hint({lines.begin(), lines.end()}));
  }
  return *parsed ? std::nullopt : std::optional(0);
}

Result<blockcore::DiskFormat> parse_img_format(const std::string& path, const std::string& name) {
  return blockcore::parse_format(name).with_context(path);
}

std::string_view img_format_name(blockcore::DiskFormat format) {
  return blockcore::driver_of(format).name;
}

Result<uint64_t> parse_img_size(const std::string& text) {
  constexpr std::string_view kSuffixes = "bkmgtpe";
  const auto bad = [] {
    const std::string lines[] = {
        "Invalid image size specified. You may use k, M, G, T, P or E suffixes for",
        "kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."};
    return std::unexpected(Error::list(ErrorKind::kUsage, lines));
  };
  // As strtol() has it: white space and a plus sign may stand in front.
  const size_t first = text.find_first_not_of(" \t\n\v\f\r");
  if (first == std::string::npos) return bad();
  std::string_view rest = std::string_view(text).substr(first + (text[first] == '+' ? 1 : 0));
  const bool is_hex = rest.starts_with("0x") || rest.starts_with("0X");
  if (is_hex) rest.remove_prefix(2);
  const size_t number_end = std::min(
      rest.size(), rest.find_first_not_of(is_hex ? "0123456789abcdefABCDEF" : "0123456789."));
  const std::string number(rest.substr(0, number_end));
  rest.remove_prefix(number_end);
  if (number.empty() || number.size() > 20 || number.front() == '.' ||
      std::ranges::count(number, '.') > 1)
    return bad();
  size_t power = 0;
  if (!rest.empty()) {
    power = kSuffixes.find(static_cast<char>(std::tolower(static_cast<unsigned char>(rest[0]))));
    if (power == std::string_view::npos || rest.size() != 1) return bad();
  }
  const long double digits =
      is_hex ? static_cast<long double>(std::strtoull(number.c_str(), nullptr, 16))
             : std::strtold(number.c_str(), nullptr);
  if (power == 0 && digits != std::floor(digits)) return bad();
  const long double value = digits * std::pow(1024.0L, static_cast<long double>(power));
  if (value >= 0x1p63L)
    return fail(ErrorKind::kUsage,
                "Invalid image size specified. Must be between 0 and 9223372036854775807.");
  return static_cast<uint64_t>(value);
}

std::span<const Verb> img_verbs() { return kImgVerbs; }

namespace {

// -T, --trace [enable=]PATTERN[,events=FILE][,file=FILE]: there is nothing to trace.
Arguments behind_trace_options(Arguments arguments) {
  while (!arguments.empty()) {
    const std::string_view word = arguments[0];
    const bool alone = word == "-T" || word == "--trace";
    if (!alone && !word.starts_with("-T") && !word.starts_with("--trace=")) break;
    arguments = arguments.subspan(std::min<size_t>(alone ? 2 : 1, arguments.size()));
  }
  return arguments;
}

}  // namespace

int img_verb(Arguments arguments) {
  end_when_out_of_memory(kImgFailed);
  block_progress_signal();
  if (arguments.empty()) {
    print_img_help();
    return kImgFailed;
  }
  arguments = behind_trace_options(arguments);
  if (arguments.empty()) return img_fail(with_hint({"Not enough arguments"}));
  const std::string_view word = arguments[0];
  if (word == "--version" || word == "-V") {
    // Scripts look for a number behind qemu-img: that of the version whose words these are.
    if (program_name == kQemuName)
      fmt::print("qemu-img version 7.2.0 (hull-img {})\n", version_text());
    else
      fmt::print("{} version {}\n", program_name, version_text());
    return 0;
  }
  if (word == "help" && arguments.size() > 1)
    return help_of(kImgVerbs, arguments.subspan(1), img_no_verb);
  if (word == "--help" || word == "-h" || word == "help") return print_img_help();
  for (const Verb& verb : kImgVerbs)
    if (word == verb.name) return verb.run(arguments.subspan(1));
  return img_no_verb(word);
}

int img_program(std::string_view name, Arguments arguments) {
  program_name = name;
  if (arguments.empty()) return img_fail(with_hint({"Not enough arguments"}));
  return img_verb(arguments);
}

}  // namespace hull::cli
