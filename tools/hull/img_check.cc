// hull img check [-q] [-f FMT] [--output=human|json] [-r leaks|all] [-U] [--backing-chain] FILE
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "blockcore/backing_name.h"
#include "blockcore/format_table.h"
#include "blockcore/image/check.h"
#include "blockcore/nbd/url.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using blockcore::DiskFormat;
using blockcore::LocalFile;
using blockcore::qcow2::CheckResult;
using blockcore::qcow2::Repair;

struct CheckCommand {
  ImgCommon common;
  std::string path;
  std::string format;
  std::string output = "human";
  std::string repair;
  std::string cache;
  bool backing_chain = false;

  bool json_wanted() const { return output == "json"; }
  Repair repair_wanted() const {
    if (repair.empty()) return Repair::kNone;
    return repair == "all" ? Repair::kAll : Repair::kLeaks;
  }
};

// One image of the chain.
struct Level {
  std::string path;
  std::optional<DiskFormat> format;
  bool lock = true;
};

nlohmann::json check_json(const std::string& path, const CheckResult& result) {
  nlohmann::json object = {{"filename", path},
                           {"format", "qcow2"},
                           {"check-errors", 0},
                           {"image-end-offset", result.image_end_offset}};
  const auto add = [&object](const char* key, uint64_t value) {
    if (value != 0) object[key] = value;
  };
  add("total-clusters", result.total_clusters);
  add("corruptions", result.findings.corruptions);
  add("corruptions-fixed", result.findings.corruptions_fixed);
  add("leaks", result.leaks);
  add("leaks-fixed", result.leaks_fixed);
  add("allocated-clusters", result.findings.allocated_clusters);
  add("fragmented-clusters", result.findings.fragmented_clusters);
  add("compressed-clusters", result.findings.compressed_clusters);
  return object;
}

std::string check_text(const CheckResult& result) {
  const auto& findings = result.findings;
  std::string text;
  if (findings.corruptions != 0)
    text += fmt::format(
        "\n{} errors were found on the image.\nData may be corrupted, or further writes to the "
        "image may corrupt it.\n",
        findings.corruptions);
  if (result.leaks != 0)
    text += fmt::format(
        "\n{} leaked clusters were found on the image.\nThis means waste of disk space, but no "
        "harm to data.\n",
        result.leaks);
  if (text.empty()) text = "No errors were found on the image.\n";
  const auto percent = [](uint64_t part, uint64_t whole) {
    return static_cast<double>(part) * 100.0 / static_cast<double>(whole);
  };
  const uint64_t allocated = findings.allocated_clusters;
  if (result.total_clusters != 0 && allocated != 0)
    text +=
        fmt::format("{}/{} = {:.2f}% allocated, {:.2f}% fragmented, {:.2f}% compressed clusters\n",
                    allocated, result.total_clusters, percent(allocated, result.total_clusters),
                    percent(findings.fragmented_clusters, allocated),
                    percent(findings.compressed_clusters, allocated));
  if (result.image_end_offset != 0)
    text += fmt::format("Image end offset: {}\n", result.image_end_offset);
  return text;
}

void print_messages(const CheckCommand& command, const CheckResult& result) {
  std::fflush(stdout);
  for (const std::string& message : result.findings.messages) {
    if (!command.json_wanted() || command.repair_wanted() != Repair::kNone)
      fmt::print(stderr, "{}\n", printable(message));
  }
}

// A repair, then a look at what it made. nullopt: it could not be done, which was said.
Result<std::optional<CheckResult>> repair_then_check(const CheckCommand& command,
                                                     blockcore::IoEngine& engine, LocalFile& file,
                                                     DiskFormat format) {
  const Repair repair = command.repair_wanted();
  CheckResult result =
      TRY(engine.run_until_done(blockcore::check_image_file(file, format, repair)));
  print_messages(command, result);
  if (result.needs_rebuild) {
    img_fail(Error(ErrorKind::kCorrupt, "Check failed: Input/output error"));
    return std::nullopt;
  }
  const uint64_t errors = result.findings.corruptions_fixed;
  const uint64_t leaks = result.leaks_fixed;
  if (errors == 0 && leaks == 0) return result;
  if (!command.common.quiet && !command.json_wanted())
    fmt::print(
        "The following inconsistencies were found and repaired:\n\n    {} leaked clusters\n    {} "
        "corruptions\n\nDouble checking the fixed image now...\n",
        leaks, errors);
  result = TRY(engine.run_until_done(blockcore::check_image_file(file, format)));
  print_messages(command, result);
  result.findings.corruptions_fixed = errors;
  result.leaks_fixed = leaks;
  return result;
}

struct Outcome {
  int exit_code = 0;
  nlohmann::json report;  // with --output=json
  std::optional<Level> below;
};

Result<std::optional<Level>> find_below(blockcore::IoEngine& engine, LocalFile& file) {
  const auto header = TRY(engine.run_until_done(blockcore::qcow2::ImageHeader::read(file)));
  if (header->backing_name.empty()) return std::nullopt;
  return Level{TRY(blockcore::resolve_backing_name(file.path(), header->backing_name)),
               header->backing_format
                   ? std::optional(TRY(parse_img_format(file.path(), *header->backing_format)))
                   : std::nullopt};
}

Result<Outcome> check_level(const CheckCommand& command, blockcore::IoEngine& engine,
                            const Level& level) {
  const bool repair = command.repair_wanted() != Repair::kNone;
  blockcore::LocalFileOptions how{.read_only = !repair};
  // Where there is nothing to check, others may do what they like.
  const bool checks = !level.format || blockcore::driver_of(*level.format).has.metadata;
  if (level.lock && checks && (!command.common.force_share || repair))
    how.lock = {.write = repair, .resize = repair};
  const auto file = TRY(LocalFile::open(engine, level.path, how));
  const DiskFormat format =
      level.format ? *level.format : TRY(engine.run_until_done(blockcore::probe_format(*file)));
  const auto result = TRY(repair_then_check(command, engine, *file, format));
  Outcome outcome;
  outcome.exit_code = kImgFailed;
  if (!result) return outcome;
  outcome.exit_code = 0;
  if (command.json_wanted()) {
    outcome.report = check_json(level.path, *result);
  } else if (!command.common.quiet) {
    fmt::print("{}", check_text(*result));
  }
  if (result->findings.corruptions != 0)
    outcome.exit_code = kImgCorrupt;
  else if (result->leaks != 0)
    outcome.exit_code = kImgLeaks;
  if (command.backing_chain) outcome.below = TRY(find_below(engine, *file));
  return outcome;
}

int report_failure(const Error& error) {
  img_fail(error);
  return error.kind() == ErrorKind::kUnsupported ? kImgNoCheck : kImgFailed;
}

// The worst of all images' exit codes: failed, then corrupt, then leaks.
Result<int> check_chain(CheckCommand& command) {
  TRY(command.common.finish());
  if (!command.cache.empty()) (void)TRY(parse_img_cache(command.cache));
  const ImgName name = TRY(parse_img_name(command.path, command.format, command.common.image_opts));
  if (blockcore::nbd::is_url(name.path)) return blockcore::no_checks();
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  int worst = 0;
  nlohmann::json reports = nlohmann::json::array();
  std::optional<Level> level = Level{name.path, name.format, name.lock && !name.force_share};
  for (size_t depth = 0; level; ++depth) {
    if (depth == blockcore::kMaxChainLength)
      return fail(ErrorKind::kInvalidFormat, "{}: the chain of backing files is too long",
                  command.path);
    // What has nothing to check ends a chain well.
    if (depth != 0 && level->format && !blockcore::driver_of(*level->format).has.checks) break;
    if (command.backing_chain && !command.json_wanted() && !command.common.quiet)
      fmt::print("{}{}:\n", depth == 0 ? "" : "\n", printable(level->path));
    Outcome outcome = TRY(check_level(command, *engine, *level));
    if (outcome.exit_code != 0 && (worst == 0 || outcome.exit_code < worst))
      worst = outcome.exit_code;
    if (!outcome.report.is_null()) reports.push_back(std::move(outcome.report));
    level = std::move(outcome.below);
  }
  if (command.json_wanted() && !reports.empty()) {
    const nlohmann::json& value = command.backing_chain ? reports : reports.front();
    fmt::print("{}\n", value.dump(4, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  return worst;
}

}  // namespace

int img_check(Arguments arguments) {
  CheckCommand command;
  CommandLine app(
      "Looks for errors and leaks in an image. Without -r it changes nothing; it opens nothing "
      "that the image refers to.",
      "hull img check");
  app.footer(
      "Exit status: 0 no errors (or all repaired), 1 the check failed, 2 errors, 3 leaks only, 63 "
      "the format has nothing to check.");
  app.add_option("FILE", command.path, "the image").required();
  app.add_option("-f,--format raw|qcow2", command.format,
                 "its format: raw or qcow2; looks if absent");
  app.add_option("-r,--repair", command.repair, "repair: leaks, or all (errors too)")
      .one_of({"leaks", "all"});
  app.add_option("--output", command.output, "human (default) or json").one_of({"human", "json"});
  app.add_option("-T none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode; a check reads through the page cache");
  app.add_flag("--backing-chain", command.backing_chain, "and its backing files, one by one");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto worst = check_chain(command);
  return worst ? *worst : report_failure(worst.error());
}

}  // namespace hull::cli
