// The table of pairs by hand, for a night: tests/pairs/night runs this.
#include <fmt/core.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "tests/pairs/cells.h"

namespace hull::pairs {
namespace {

struct Command {
  std::string cell;  // "ROW/COLUMN"; empty: all
  unsigned first = 1;
  unsigned step = 1;  // from one seed to the next
  unsigned effort = 4;
  unsigned seconds = 0;
  bool once = false;
  bool table = false;
};

std::optional<unsigned> number(const char* text) {
  unsigned value = 0;
  const char* const end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

std::optional<Command> parse(int count, char** arguments) {
  Command command;
  for (int i = 1; i < count; ++i) {
    const std::string_view word = arguments[i];
    if (word == "--table") {
      command.table = true;
      continue;
    }
    if (i + 1 == count) return std::nullopt;
    const char* const value = arguments[++i];
    if (word == "--cell") {
      command.cell = value;
      continue;
    }
    const std::optional<unsigned> parsed = number(value);
    if (!parsed) return std::nullopt;
    if (word == "--seed") {
      command.first = *parsed;
      command.once = true;
    } else if (word == "--first") {
      command.first = *parsed;
    } else if (word == "--step") {
      command.step = *parsed;
    } else if (word == "--effort") {
      command.effort = *parsed;
    } else if (word == "--seconds") {
      command.seconds = *parsed;
    } else {
      return std::nullopt;
    }
  }
  return command;
}

void print_table() {
  for (const Row row : kRows)
    for (const Column column : kColumns) {
      const char* const why = impossible(row, column);
      fmt::print("{}/{}{}{}\n", name_of(row), name_of(column), why != nullptr ? ": no, " : "",
                 why != nullptr ? why : "");
    }
}

// One line for each seed that is done, which is where a later run goes on.
int run(const Command& command) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(command.seconds);
  int failures = 0;
  for (unsigned seed = command.first;; seed += command.step) {
    CellCounts counts;
    for (const Row row : kRows)
      for (const Column column : kColumns) {
        const std::string name = fmt::format("{}/{}", name_of(row), name_of(column));
        if (impossible(row, column) != nullptr) continue;
        if (!command.cell.empty() && command.cell != name) continue;
        const std::string trouble =
            run_cell(row, column, {.seed = seed, .effort = command.effort}, counts);
        if (trouble.empty()) continue;
        ++failures;
        fmt::print("FAILED --cell {} --seed {} --effort {}: {}\n", name, seed, command.effort,
                   trouble);
      }
    fmt::print("seed {} runs {} crash_states {} faults {}\n", seed, counts.runs,
               counts.crash_states, counts.faults);
    std::fflush(stdout);
    if (command.once || std::chrono::steady_clock::now() >= end) break;
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace hull::pairs

int main(int count, char** arguments) {
  const auto command = hull::pairs::parse(count, arguments);
  if (!command) {
    fmt::print(
        stderr,
        "usage: pairs [--table] [--cell ROW/COLUMN] [--seed N | --first N --step N --seconds N]"
        " [--effort N]\n");
    return 2;
  }
  hull::set_log_level(hull::LogLevel::kError);
  if (command->table) {
    hull::pairs::print_table();
    return 0;
  }
  return hull::pairs::run(*command);
}
