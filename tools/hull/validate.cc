// hull validate [--strict] [--ignore XPATH]… [--json] FILE…: judges documents as `hull run` would,
// and touches nothing but them. hull validate --table prints by what it judges.
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "tools/hull/command_line.h"
#include "tools/hull/domain_document.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/verbs.h"
#include "tools/hull/verdict_table.h"

namespace hull::cli {

namespace {

struct ValidateCommand {
  std::vector<std::string> files;
  config::ReadOptions options;
  bool json = false, table = false;
};

// What is to be said of one file.
struct Judgement {
  std::string source;
  int code = kExitOk;  // kExitRefused; kExitError if it cannot be read
  std::string name;    // of the domain
  std::string error;   // why nothing could be judged
  std::vector<config::Finding> warnings, refusals;
};

Judgement judge_file(const std::string& file, const config::ReadOptions& options) {
  Judgement judgement{.source = source_of(file),
                      .code = kExitOk,
                      .name = {},
                      .error = {},
                      .warnings = {},
                      .refusals = {}};
  auto reading = read_domain_file(file, options);
  if (!reading) {
    judgement.code = exit_code_of(reading.error());
    judgement.error = printable(reading.error().message());
    return judgement;
  }
  if (!reading->accepted()) judgement.code = kExitRefused;
  judgement.name = printable(reading->config.name);
  judgement.warnings = std::move(reading->warnings);
  judgement.refusals = std::move(reading->refusals);
  return judgement;
}

void print_text(const Judgement& judgement) {
  // In the order and the words of hull run.
  for (const config::Finding& finding : judgement.warnings)
    fmt::print("warning: {}\n", finding.text_in(judgement.source));
  for (const config::Finding& finding : judgement.refusals)
    fmt::print("error: {}\n", finding.text_in(judgement.source));
  if (!judgement.error.empty()) fmt::print("error: {}\n", judgement.error);
  const char* verdict = judgement.code == kExitOk        ? "accepted"
                        : judgement.code == kExitRefused ? "refused"
                                                         : "not judged";
  fmt::print("{}: {}\n", printable(judgement.source), verdict);
}

nlohmann::json to_json(const config::Finding& finding, const char* verdict) {
  return {{"verdict", verdict},     {"line", finding.line},       {"column", finding.column},
          {"xpath", finding.xpath}, {"message", finding.message}, {"remedy", finding.remedy}};
}

nlohmann::json to_json(const Judgement& judgement) {
  nlohmann::json document{{"file", printable(judgement.source)},
                          {"accepted", judgement.code == kExitOk},
                          {"name", judgement.name},
                          {"findings", nlohmann::json::array()}};
  for (const config::Finding& finding : judgement.warnings)
    document["findings"].push_back(to_json(finding, "warn"));
  for (const config::Finding& finding : judgement.refusals)
    document["findings"].push_back(to_json(finding, "refuse"));
  if (!judgement.error.empty()) document["error"] = judgement.error;
  return document;
}

void describe(CommandLine& app, ValidateCommand& command) {
  app.add_option("FILE", command.files, "domain XML, '-' for standard input");
  app.add_flag("--strict", command.options.strict, "refuse what would be a warning");
  app.add_option("--ignore XPATH", command.options.ignore,
                 "turn a refusal at this XPath into a warning; may be repeated");
  app.add_flag("--json", command.json, "print one JSON document");
  app.add_flag("--table", command.table, "print what hull does with every element and attribute");
}

// The worst: what could not be read counts more than what is refused.
int worse(int a, int b) {
  const auto rank = [](int code) { return code == kExitOk ? 0 : code == kExitRefused ? 1 : 2; };
  return rank(b) > rank(a) ? b : a;
}

int judge_files(const ValidateCommand& command) {
  int code = kExitOk;
  nlohmann::json documents = nlohmann::json::array();
  for (const std::string& file : command.files) {
    const Judgement judgement = judge_file(file, command.options);
    code = worse(code, judgement.code);
    if (command.json)
      documents.push_back(to_json(judgement));
    else
      print_text(judgement);
  }
  if (command.json)
    fmt::print("{}\n", nlohmann::json{{"documents", std::move(documents)}}.dump(
                           2, ' ', false, nlohmann::json::error_handler_t::replace));
  return code;
}

}  // namespace

int validate_verb(Arguments arguments) {
  ValidateCommand command;
  CommandLine app("Judges domain documents as 'hull run' would, and starts nothing.",
                  "hull validate");
  describe(app, command);
  const auto parsed = app.parse(arguments).with_context("validate");
  if (!parsed) return report(parsed.error());
  if (!*parsed) return kExitOk;
  if (command.table && !command.files.empty())
    return report(Error(ErrorKind::kUsage, "validate: --table takes no files"));
  if (command.table) {
    command.json ? print_table_json() : print_table_text();
    return kExitOk;
  }
  if (command.files.empty())
    return report(Error(ErrorKind::kUsage, "validate: which files? ('hull validate --help')"));
  return judge_files(command);
}

}  // namespace hull::cli
