#include "tools/hull/verdict_table.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "config/value_rows.h"
#include "config/verdicts.h"

namespace hull::cli {

namespace {

using config::ValueRow;
using config::VerdictRow;

// "/domain/clock" and "timer/@name" make "/domain/clock/timer/@name".
std::string value_path(const ValueRow& row, std::string_view node) {
  if (node == ".") return std::string(row.base);
  return fmt::format("{}/{}", row.base == "*" ? "/domain/devices/*" : row.base, node);
}

template <class Visit>
void for_each_value(Visit visit) {
  for (const auto group : config::value_groups())
    for (const ValueRow& row : group)
      for (std::string_view nodes = row.nodes; !nodes.empty();) {
        const std::string_view node = nodes.substr(0, nodes.find(' '));
        visit(row, value_path(row, node));
        nodes.remove_prefix(std::min(node.size() + 1, nodes.size()));
      }
}

}  // namespace

void print_table_text() {
  for (const auto group : config::verdict_groups())
    for (const VerdictRow& row : group)
      fmt::print("{}\t{}\t{}\t{}\n", row.pattern, row.when, to_string(row.verdict), row.text);
  for_each_value([](const ValueRow& row, const std::string& path) {
    fmt::print("{}\tvalue\t{}\t{}\n", path, to_string(row.kind), row.words);
  });
}

void print_table_json() {
  nlohmann::json table{{"verdicts", nlohmann::json::array()}, {"values", nlohmann::json::array()}};
  for (const auto group : config::verdict_groups())
    for (const VerdictRow& row : group)
      table["verdicts"].push_back({{"path", row.pattern},
                                   {"when", row.when},
                                   {"verdict", to_string(row.verdict)},
                                   {"text", row.text},
                                   {"below", row.has(config::kSubtree)},
                                   {"final", row.has(config::kFinal)},
                                   {"once", row.has(config::kOnce)},
                                   {"unique", row.has(config::kUnique)}});
  for_each_value([&](const ValueRow& row, const std::string& path) {
    table["values"].push_back(
        {{"path", path}, {"kind", to_string(row.kind)}, {"words", row.words}});
  });
  fmt::print("{}\n", table.dump(1));
}

}  // namespace hull::cli
