// A document through the reader and validate(): what the reader accepts, validate() accepts too,
// and its name is fit for a path. The dictionary is made of the tables by which documents are
// judged.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "config/domain_reader.h"
#include "config/paths.h"
#include "config/validate.h"
#include "config/value_rows.h"
#include "config/verdicts.h"
#include "tests/fuzz/dictionary.h"

namespace {

void add_words(std::string_view list, std::string_view separators, std::set<std::string>& words) {
  while (!list.empty()) {
    const size_t end = std::min(list.find_first_of(separators), list.size());
    if (end != 0) words.emplace(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

// "<disk>", "<disk", " bus='", "virtio".
void add_steps(std::string_view path, std::set<std::string>& words) {
  std::set<std::string> steps;
  add_words(path, "/ ", steps);
  for (const std::string& step : steps)
    if (step.starts_with('@')) {
      words.insert(" " + step.substr(1) + "='");
    } else {
      words.insert("<" + step + ">");
      words.insert("<" + step + "/>");
      words.insert("</" + step + ">");
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  std::set<std::string> words = {" xmlns='urn:x'", "name='x' ", "bogus"};
  for (const auto group : hull::config::verdict_groups())
    for (const hull::config::VerdictRow& row : group) {
      add_steps(row.pattern, words);
      if (!row.when.starts_with('~')) add_words(row.when, "|@=", words);
    }
  for (const auto group : hull::config::value_groups())
    for (const hull::config::ValueRow& row : group) {
      add_steps(row.nodes, words);
      add_words(row.words, "|", words);
    }
  hull::fuzz::use_dictionary(words, argc, argv);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hull::config;
  if (size == 0) return 0;
  // The first byte chooses the options.
  ReadOptions options;
  options.strict = (data[0] & 1) != 0;
  if ((data[0] & 2) != 0) options.ignore = {"disk", "/domain/devices/tpm", "interface/@type"};
  if ((data[0] & 4) != 0) options.boot.kernel = "/k";
  const std::string_view document(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto reading = read_domain(document, "fuzz.xml", options);
  if (!reading) return 0;
  // What is said is a line each.
  for (const auto* findings : {&reading->warnings, &reading->refusals})
    for (const Finding& finding : *findings)
      CHECK(finding.text_in("fuzz.xml").find('\n') == std::string::npos);
  if (!reading->accepted()) return 0;
  CHECK(validate(reading->config).empty());
  CHECK(hull::config::Paths::below("/x")->of_domain(reading->config.name, 1).has_value());
  return 0;
}
