// hull img compact [-f FMT] [--output=human|json] [-p] [-q] [-t CACHE] FILE
#include <nlohmann/json.hpp>

#include "blockcore/image/compact.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {
namespace {

using blockcore::CompactReport;

struct CompactCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::string file;
  std::string format;
  std::string cache = "writeback";
  std::string output = "human";
};

void print_json(const std::string& path, const CompactReport& report) {
  const uint64_t returned =
      report.actual_bytes_before - std::min(report.actual_bytes_before, report.actual_bytes);
  const nlohmann::json object = {{"filename", path},
                                 {"format", "qcow2"},
                                 {"file-size", report.file_bytes},
                                 {"file-size-before", report.file_bytes_before},
                                 {"actual-size", report.actual_bytes},
                                 {"actual-size-before", report.actual_bytes_before},
                                 {"bytes-given-back", returned},
                                 {"leaked-clusters-freed", report.leaks_freed},
                                 {"zero-clusters-freed", report.zeros_freed},
                                 {"clusters-moved", report.moved},
                                 {"holes", report.holes},
                                 {"snapshots", report.snapshots},
                                 {"bitmaps", report.bitmaps}};
  fmt::print("{}\n", object.dump(4, ' ', false, nlohmann::json::error_handler_t::replace));
}

void print_text(const CompactReport& report) {
  fmt::print(
      "File length: {} bytes (was {})\nSpace on the host: {} bytes (was {})\n"
      "Freed {} clusters of zeros and {} leaked ones, moved {}.\n",
      report.file_bytes, report.file_bytes_before, report.actual_bytes, report.actual_bytes_before,
      report.zeros_freed, report.leaks_freed, report.moved);
  if (report.holes == 0) return;
  fmt::print("{} free clusters inside the file are holes: what lies behind them stays there{}.\n",
             report.holes,
             report.snapshots + report.bitmaps == 0
                 ? ""
                 : fmt::format(" ({} snapshots, {} bitmaps)", report.snapshots, report.bitmaps));
}

Result<void> compact_now(CompactCommand& command) {
  TRY(command.common.finish());
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  blockcore::CompactOptions options{.path = name.path, .format = name.format};
  options.cache = name.cache.value_or(TRY(parse_img_cache(command.cache)));
  const blockcore::ImageKeys keys = TRY(command.common.secrets.keys(name.encryption));
  options.secret = key_of_level(keys, 0).secret;
  ImgProgress progress(command.progress, command.common.quiet);
  options.progress = [&progress](uint64_t done, uint64_t total) { progress.update(done, total); };
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  const CompactReport report =
      TRY(engine->run_until_done(blockcore::compact_image(*engine, std::move(options))));
  progress.finish();
  if (command.output == "json")
    print_json(name.path, report);
  else if (!command.common.quiet)
    print_text(report);
  return {};
}

}  // namespace

int img_compact(Arguments arguments) {
  CompactCommand command;
  CommandLine app(
      "Gives back the space that a qcow2 image does not need, in its place: leaked clusters, "
      "clusters of zeros, and the end of the file after what lies there has moved.",
      "hull img compact");
  app.add_option("FILE", command.file, "the image").required();
  app.add_option("-f raw|qcow2", command.format, "its format: qcow2; looks if absent");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode (writeback)");
  app.add_option("--output", command.output, "human (default) or json").one_of({"human", "json"});
  command.progress.add_options(app);
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto compacted = compact_now(command);
  return compacted ? 0 : img_fail(compacted.error());
}

}  // namespace hull::cli
