// hull img info [-f FMT] [--output=human|json] [--backing-chain] FILE
#include <CLI/CLI.hpp>

#include "blockcore/image_lock.h"
#include "tools/hull/img.h"

namespace hull::cli {
namespace {

using blockcore::DiskFormat;
using blockcore::ImageInfo;
using blockcore::LocalFile;

struct InfoCommand {
  std::string path;
  std::string format;
  std::string output = "human";
  bool backing_chain = false;
  bool force_share = false;
};

struct Opened {
  ImageInfo info;
  blockcore::FileIdentity identity;
};

Result<Opened> read_one(blockcore::IoEngine& engine, const std::string& path,
                        const std::string& format_name, bool force_share) {
  const auto file = TRY(LocalFile::open(engine, path, {.read_only = true}));
  if (!force_share) (void)TRY(blockcore::lock_image(file->fd(), path, {}));
  const DiskFormat format = format_name.empty()
                                ? TRY(engine.run_until_done(blockcore::probe_format(*file)))
                                : TRY(parse_img_format(path, format_name));
  ImageInfo info = TRY(engine.run_until_done(blockcore::read_image_info(*file, format)));
  return Opened{std::move(info), file->identity()};
}

Result<std::vector<ImageInfo>> read_chain(const InfoCommand& command) {
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  std::vector<ImageInfo> chain;
  std::vector<blockcore::FileIdentity> seen;
  std::optional<std::string> path = command.path;
  std::string format = command.format;
  while (path) {
    Opened one = TRY(read_one(*engine, *path, format, command.force_share));
    if (std::find(seen.begin(), seen.end(), one.identity) != seen.end() ||
        seen.size() == blockcore::kMaxChainLength)
      return fail(ErrorKind::kInvalidFormat, "Backing file '{}' creates an infinite loop.", *path);
    seen.push_back(one.identity);
    path = command.backing_chain ? one.info.backing_path : std::nullopt;
    format = one.info.header ? one.info.header->backing_format.value_or("") : "";
    chain.push_back(std::move(one.info));
  }
  return chain;
}

}  // namespace

int img_info(Arguments arguments) {
  InfoCommand command;
  CLI::App app("Says what an image is. Opens nothing that it refers to.", "hull img info");
  app.add_option("FILE", command.path, "the image")->required();
  app.add_option("-f", command.format, "its format: raw or qcow2; looks if absent");
  app.add_option("--output", command.output, "human (default) or json")
      ->check(CLI::IsMember({"human", "json"}));
  app.add_flag("--backing-chain", command.backing_chain, "and its backing files");
  app.add_flag("-U,--force-share", command.force_share, "even if a program writes to it");
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto chain = read_chain(command);
  if (!chain) return img_fail(chain.error());
  if (command.output == "json") {
    fmt::print("{}", info_json(*chain, command.backing_chain));
    return 0;
  }
  for (size_t i = 0; i < chain->size(); ++i)
    fmt::print("{}{}", i == 0 ? "" : "\n", info_text((*chain)[i]));
  return 0;
}

}  // namespace hull::cli
