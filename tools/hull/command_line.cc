#include "tools/hull/command_line.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

namespace hull::cli {

CommandOption CommandOption::required() {
  option_->required();
  return *this;
}

CommandOption CommandOption::one_of(std::initializer_list<const char*> words) {
  option_->check(CLI::IsMember(std::vector<std::string>(words.begin(), words.end())));
  return *this;
}

size_t CommandOption::count() const { return option_->count(); }

CommandLine::CommandLine(std::string description, std::string name)
    : app_(std::make_unique<CLI::App>(std::move(description), std::move(name))) {}
CommandLine::~CommandLine() = default;

CommandOption CommandLine::add_option(const char* names, std::string& value, const char* help) {
  return CommandOption(app_->add_option(names, value, help));
}
CommandOption CommandLine::add_option(const char* names, std::vector<std::string>& values,
                                      const char* help) {
  CLI::Option* const option = app_->add_option(names, values, help);
  if (!option->get_positional()) option->allow_extra_args(false);
  return CommandOption(option);
}
CommandOption CommandLine::add_option(const char* names, uint32_t& value, const char* help) {
  return CommandOption(app_->add_option(names, value, help));
}
CommandOption CommandLine::add_option(const char* names, std::optional<std::string>& value,
                                      const char* help) {
  return CommandOption(app_->add_option(names, value, help));
}
CommandOption CommandLine::add_option(const char* names, std::optional<uint16_t>& value,
                                      const char* help) {
  return CommandOption(app_->add_option(names, value, help));
}
CommandOption CommandLine::add_option(const char* names, std::optional<uint32_t>& value,
                                      const char* help) {
  return CommandOption(app_->add_option(names, value, help));
}
CommandOption CommandLine::add_flag(const char* names, bool& value, const char* help) {
  return CommandOption(app_->add_flag(names, value, help));
}
CommandOption CommandLine::add_action(const char* names, const char* help) {
  const std::string text(help);
  return CommandOption(app_->add_flag(names, text));
}
CommandOption CommandLine::add_action(const char* names, const char* argument, const char* help) {
  const std::string text(help);
  return CommandOption(app_->add_option(names, text)->type_name(argument)->take_all());
}

void CommandLine::footer(std::string text) { app_->footer(std::move(text)); }

void CommandLine::let_last_count() {
  for (CLI::Option* option : app_->get_options())
    if (!option->get_positional() && option->get_expected_max() <= 1 &&
        option->get_multi_option_policy() == CLI::MultiOptionPolicy::Throw)
      option->take_last();
}

Result<bool> CommandLine::parse(Arguments arguments) {
  // CLI11 wants them reversed.
  std::vector<std::string> words(arguments.rbegin(), arguments.rend());
  try {
    app_->parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app_->help());
    return false;
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kUsage, "{}", error.what());
  }
  return true;
}

size_t CommandLine::count(const char* name) const { return app_->count(name); }

std::vector<std::pair<std::string, std::string>> CommandLine::in_order() const {
  std::vector<std::pair<std::string, std::string>> given;
  std::vector<const CLI::Option*> seen;
  for (const CLI::Option* option : app_->parse_order()) {
    const auto before = static_cast<size_t>(std::count(seen.begin(), seen.end(), option));
    seen.push_back(option);
    const std::vector<std::string>& values = option->results();
    given.emplace_back(option->get_lnames().empty() ? "" : option->get_lnames().front(),
                       before < values.size() ? values[before] : "");
  }
  return given;
}

std::vector<std::string> CommandLine::long_names() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options())
    if (!option->get_lnames().empty()) names.push_back("--" + option->get_lnames().front());
  return names;
}

std::vector<std::string> CommandLine::all_names() const {
  std::vector<std::string> names;
  for (const CLI::Option* option : app_->get_options()) {
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace hull::cli
