// hull img rebase [-f FMT] [-u] -b FILE [-F FMT] [-p] [-q] [-t CACHE] [-T CACHE] OVERLAY

#include "blockcore/image/rebase.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {
namespace {

struct RebaseCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::string file;
  std::string format;
  std::optional<std::string> backing;  // empty: none
  std::string backing_format;
  std::string cache = "writeback";
  std::string source_cache = "writeback";
  bool unsafe = false;
  bool change_snapshots = false;
};

Result<void> rebase_now(RebaseCommand& command) {
  TRY(command.common.finish());
  if (!command.backing && !command.unsafe)
    return std::unexpected(with_hint({"Must specify backing file (-b) or use unsafe mode (-u)"}));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  blockcore::RebaseOptions options{.path = name.path, .format = name.format};
  options.backing_name = command.backing.value_or("");
  options.backing_format = command.backing_format;
  options.unsafe = command.unsafe;
  options.change_snapshots = command.change_snapshots;
  options.keys = TRY(command.common.secrets.keys(name.encryption));
  options.cache = TRY(parse_img_cache(command.cache));
  options.backing_cache = TRY(parse_img_cache(command.source_cache));
  ImgProgress progress(command.progress, command.common.quiet);
  options.progress = [&progress](uint64_t done, uint64_t total) { progress.update(done, total); };
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  TRY(engine->run_until_done(blockcore::rebase_image(*engine, std::move(options))));
  if (!command.unsafe) progress.finish();
  return {};
}

}  // namespace

int img_rebase(Arguments arguments) {
  RebaseCommand command;
  CommandLine app(
      "Gives an overlay another backing file. What would read differently is copied into the "
      "overlay first.",
      "hull img rebase");
  app.add_option("FILE", command.file, "the overlay").required();
  app.add_option("-f raw|qcow2", command.format, "its format: qcow2; looks if absent");
  app.add_option("-b FILE", command.backing, "the new backing file; '' for none: all is copied");
  app.add_option("-F raw|qcow2", command.backing_format,
                 "format of the backing file: raw or qcow2");
  app.add_flag("-u", command.unsafe, "only change the name: the contents are the same");
  app.add_flag("--change-snapshots", command.change_snapshots,
               "also if internal snapshots will read differently");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode of the overlay");
  app.add_option("-T none|writeback|writethrough|directsync|unsafe", command.source_cache,
                 "cache mode of the backing files");
  command.progress.add_options(app);
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto rebased = rebase_now(command);
  return rebased ? 0 : img_fail(rebased.error());
}

}  // namespace hull::cli
