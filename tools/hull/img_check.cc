// hull img check [-q] [-f FMT] [--output=human|json] FILE
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "blockcore/image/check.h"
#include "blockcore/image_lock.h"
#include "tools/hull/img.h"

namespace hull::cli {
namespace {

using blockcore::DiskFormat;
using blockcore::LocalFile;
using blockcore::qcow2::CheckResult;

struct CheckCommand {
  std::string path;
  std::string format;
  std::string output = "human";
  bool quiet = false;
  bool force_share = false;
};

Result<CheckResult> check_now(const CheckCommand& command) {
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  const auto file = TRY(LocalFile::open(*engine, command.path, {.read_only = true}));
  if (!command.force_share) (void)TRY(blockcore::lock_image(file->fd(), command.path, {}));
  const DiskFormat format = command.format.empty()
                                ? TRY(engine->run_until_done(blockcore::probe_format(*file)))
                                : TRY(parse_img_format(command.path, command.format));
  return engine->run_until_done(blockcore::check_image_file(*file, format));
}

std::string check_json(const std::string& path, const CheckResult& result) {
  nlohmann::json object = {{"filename", path},
                           {"format", "qcow2"},
                           {"check-errors", 0},
                           {"image-end-offset", result.image_end_offset}};
  const auto add = [&object](const char* key, uint64_t value) {
    if (value != 0) object[key] = value;
  };
  add("total-clusters", result.total_clusters);
  add("corruptions", result.findings.corruptions);
  add("leaks", result.leaks);
  add("allocated-clusters", result.findings.allocated_clusters);
  add("fragmented-clusters", result.findings.fragmented_clusters);
  add("compressed-clusters", result.findings.compressed_clusters);
  return object.dump(4, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
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

}  // namespace

int img_check(Arguments arguments) {
  CheckCommand command;
  CLI::App app("Looks for errors and leaks in an image; changes nothing.", "hull img check");
  app.footer(
      "Exit status: 0 no errors, 1 the check failed, 2 errors, 3 leaks only, 63 the format "
      "has nothing to check.");
  app.add_option("FILE", command.path, "the image")->required();
  app.add_option("-f", command.format, "its format: raw or qcow2; looks if absent");
  app.add_option("--output", command.output, "human (default) or json")
      ->check(CLI::IsMember({"human", "json"}));
  app.add_flag("-q", command.quiet, "print nothing but errors");
  app.add_flag("-U,--force-share", command.force_share, "even if a program writes to it");
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto result = check_now(command);
  if (!result) {
    img_fail(result.error());
    return result.error().kind() == ErrorKind::kUnsupported ? kImgNoCheck : kImgFailed;
  }
  if (command.output == "json") {
    fmt::print("{}", check_json(command.path, *result));
  } else {
    for (const std::string& message : result->findings.messages)
      fmt::print(stderr, "{}\n", message);
    if (!command.quiet) fmt::print("{}", check_text(*result));
  }
  if (result->findings.corruptions != 0) return kImgCorrupt;
  return result->leaks != 0 ? kImgLeaks : 0;
}

}  // namespace hull::cli
