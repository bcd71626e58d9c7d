// hull img commit [-f FMT] [-b BASE] [-d] [-r RATE] [-p] [-q] [-t CACHE] OVERLAY

#include "blockcore/format_table.h"
#include "blockcore/image/commit.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {
namespace {

struct CommitCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::string file;
  std::string format;
  std::string base;
  std::string cache = "writeback";
  std::string rate;
  bool keep = false;
  bool change_snapshots = false;
};

Result<void> commit_now(CommitCommand& command) {
  TRY(command.common.finish());
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  if (name.format && !blockcore::driver_of(*name.format).has.backing)
    return fail(ErrorKind::kInvalidConfig, "Image does not have a backing file");
  blockcore::CommitOptions options{.path = name.path, .format = name.format};
  options.base = command.base;
  options.keys = TRY(command.common.secrets.keys(name.encryption));
  // A base that is named is committed to for good: what lies between would not be valid.
  options.keep_overlay = command.keep || !command.base.empty();
  options.change_snapshots = command.change_snapshots;
  options.cache = TRY(parse_img_cache(command.cache));
  if (!command.rate.empty()) options.pace.bytes_per_second = TRY(parse_img_size(command.rate));
  ImgProgress progress(command.progress, command.common.quiet);
  options.pace.progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); };
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  TRY(engine->run_until_done(blockcore::commit_image(*engine, std::move(options))));
  progress.finish();
  return {};
}

}  // namespace

int img_commit(Arguments arguments) {
  CommitCommand command;
  CommandLine app("Writes what an overlay holds into its backing file, and empties the overlay.",
                  "hull img commit");
  app.add_option("FILE", command.file, "the overlay").required();
  app.add_option("-f raw|qcow2", command.format, "its format: qcow2; looks if absent");
  app.add_option("-b FILE", command.base, "write to this file of the chain; implies -d");
  app.add_flag("-d", command.keep, "do not empty the overlay");
  app.add_flag("--change-snapshots", command.change_snapshots,
               "also if internal snapshots will read differently");
  app.add_option("-r RATE", command.rate, "bytes per second at most");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode of all files");
  command.progress.add_options(app);
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (const auto committed = commit_now(command); !committed) return img_fail(committed.error());
  if (!command.common.quiet) fmt::print("Image committed.\n");
  return 0;
}

}  // namespace hull::cli
