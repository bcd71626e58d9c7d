// --help of one verb: what it is for, how it is called, a paragraph for each option.
#include <fmt/format.h>

#include <algorithm>

#include "tools/hull/command_line.h"

namespace hull::cli {

namespace {

constexpr size_t kNamesColumn = 2;
constexpr size_t kHelpColumn = 30;

size_t width_of(std::string_view text) {  // UTF-8: bytes that begin a character
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

// Where `text` may be broken: behind spaces, and before the parts of "FILE[,a=b][,c=d]" and "a|b".
std::vector<std::string_view> pieces_of(std::string_view text) {
  std::vector<std::string_view> pieces;
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    const bool breaks = i == text.size() || text[i - 1] == ' ' ||
                        (text[i] == '[' && i + 1 < text.size() && text[i + 1] == ',');
    if (!breaks) continue;
    pieces.push_back(text.substr(begin, i - begin));
    begin = i;
  }
  return pieces;
}

// Puts `text` behind what `out` holds of its last line, which is `column` wide; new lines begin at
// `indent`.
void append_wrapped(std::string& out, size_t column, std::string_view text, size_t indent,
                    size_t columns) {
  for (std::string_view piece : pieces_of(text)) {
    const std::string_view shown =
        piece.substr(0, std::min(piece.size(), piece.find_last_not_of(' ') + 1));
    if (column > indent && column + width_of(shown) > columns) {
      out.resize(out.find_last_not_of(' ') + 1);
      out += "\n" + std::string(indent, ' ');
      column = indent;
    }
    out += piece;
    column += width_of(piece);
  }
  out.resize(out.find_last_not_of(' ') + 1);
}

std::string names_of(const OptionSpec& spec) {
  std::string names;
  for (const char letter : spec.short_names)
    names += fmt::format("{}-{}", names.empty() ? "" : ",", letter);
  for (const std::string& name : spec.long_names)
    names += fmt::format("{}--{}", names.empty() ? "" : ",", name);
  if (!spec.argument.empty()) names += (names.empty() ? "" : " ") + spec.argument;
  return names;
}

void append_option(std::string& out, const OptionSpec& spec, size_t columns) {
  const std::string names = names_of(spec);
  out += std::string(kNamesColumn, ' ');
  append_wrapped(out, kNamesColumn, names, kNamesColumn + 6, columns);
  size_t column = kNamesColumn + width_of(names);
  if (column + 2 > kHelpColumn) {
    out += "\n";
    column = 0;
  }
  out += std::string(kHelpColumn - column, ' ');
  append_wrapped(out, kHelpColumn, spec.help, kHelpColumn, columns);
  out += "\n";
}

// "hull img create FILE [SIZE] [OPTION...]"
std::string usage_of(const std::string& name, const CommandLine& line) {
  std::string usage = "usage: " + name;
  for (const auto& option : line.options())
    if (option->positional)
      usage += fmt::format("{}{}{}{}", option->required ? " " : " [", option->argument,
                           option->list ? "..." : "", option->required ? "" : "]");
  return usage + " [OPTION...]";
}

}  // namespace

std::string CommandLine::help(size_t columns) const {
  std::string text = usage_of(name_, *this) + "\n\n";
  append_wrapped(text, 0, description_, 0, columns);
  text += "\n";
  const auto any = [this](bool positional) {
    return std::ranges::any_of(
        options_, [positional](const auto& option) { return option->positional == positional; });
  };
  for (const bool positional : {true, false}) {
    if (!any(positional)) continue;
    text += positional ? "\nWords:\n" : "\nOptions:\n";
    for (const auto& option : options_)
      if (option->positional == positional) append_option(text, *option, columns);
  }
  if (footer_.empty()) return text;
  text += "\n";
  append_wrapped(text, 0, footer_, 0, columns);
  return text + "\n";
}

}  // namespace hull::cli
