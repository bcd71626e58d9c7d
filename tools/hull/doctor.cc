// hull doctor: what this host can do, what to do about each lack, and whether the main job works.
#include <nlohmann/json.hpp>

#include "tools/hull/command_line.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/host_checks.h"
#include "tools/hull/trial_run.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

namespace {

const char* to_word(CheckStatus status) {
  switch (status) {
    case CheckStatus::kOk: return "ok";
    case CheckStatus::kNote: return "note";
    case CheckStatus::kFail: return "FAIL";
  }
  return "";
}

void print_text(const std::vector<HostCheck>& checks, const Result<TrialResult>& trial) {
  for (const HostCheck& check : checks) {
    fmt::print("{:<5} {:<13} {}\n", to_word(check.status), check.name, check.finding);
    if (!check.remedy.empty()) fmt::print("{:<20}-> {}\n", "", check.remedy);
  }
  if (!trial) {
    fmt::print("{:<5} {:<13} {}\n", "FAIL", "trial", trial.error().message());
    return;
  }
  fmt::print(
      "{:<5} {:<13} hull's guest on a copy-on-write disk: {:.0f} ms from start to end, base image "
      "{}\n",
      trial->passed ? "ok" : "FAIL", "trial", trial->start_ms,
      trial->base_unchanged ? "unchanged" : "CHANGED");
  for (const std::string& fact : trial->facts) fmt::print("{:<20}{}\n", "", fact);
}

void print_json(const std::vector<HostCheck>& checks, const Result<TrialResult>& trial) {
  nlohmann::json document;
  for (const HostCheck& check : checks)
    document["checks"].push_back({{"name", check.name},
                                  {"status", to_word(check.status)},
                                  {"finding", check.finding},
                                  {"remedy", check.remedy}});
  if (trial)
    document["trial"] = {{"passed", trial->passed},
                         {"milliseconds", trial->start_ms},
                         {"base-unchanged", trial->base_unchanged},
                         {"guest", trial->facts}};
  else
    document["trial"] = {{"passed", false}, {"error", trial.error().message()}};
  // Names of files may be any bytes; JSON is UTF-8.
  fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace

int doctor_verb(Arguments arguments) {
  bool json = false;
  CommandLine app("Says what this host can do and tries the main job.", "hull doctor");
  app.add_flag("--json", json, "print one JSON document");
  const auto parsed = app.parse(arguments).with_context("doctor");
  if (!parsed) return report(parsed.error());
  if (!*parsed) return kExitOk;
  const std::vector<HostCheck> checks = check_host();
  const Result<TrialResult> trial = run_trial();
  json ? print_json(checks, trial) : print_text(checks, trial);
  if (!trial) return exit_code_of(trial.error());
  return trial->passed ? kExitOk : kExitError;
}

}  // namespace hull::cli
