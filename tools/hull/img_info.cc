// hull img info [-f FMT] [--output=human|json] [--backing-chain] [--contents] FILE

#include "blockcore/contents/contents.h"
#include "blockcore/format_table.h"
#include "blockcore/nbd/url.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_info_contents.h"
#include "tools/hull/img_open.h"

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
  bool contents = false;
  ImgCommon common;
};

struct Facts {
  std::vector<ImageInfo> chain;
  std::optional<blockcore::DiskContents> contents;
};

struct Opened {
  ImageInfo info;
  blockcore::FileIdentity identity;
};

Result<DiskFormat> look_at(blockcore::IoEngine& engine, const std::string& path) {
  const auto file = TRY(LocalFile::open(engine, path, {.read_only = true}));
  return engine.run_until_done(blockcore::probe_format(*file));
}

Result<Opened> read_one(blockcore::IoEngine& engine, const std::string& path,
                        std::optional<DiskFormat> wanted, bool lock) {
  const DiskFormat format = wanted ? *wanted : TRY(look_at(engine, path));
  blockcore::LocalFileOptions how{.read_only = true};
  // Of a raw image nothing is read that a writer could change.
  if (lock && blockcore::driver_of(format).has.metadata) how.lock.emplace();
  const auto file = TRY(LocalFile::open(engine, path, how));
  ImageInfo info = TRY(engine.run_until_done(blockcore::read_image_info(*file, format)));
  return Opened{std::move(info), file->identity()};
}

Result<ImageInfo> read_export(blockcore::IoEngine& engine, const InfoCommand& command,
                              const ImgName& name) {
  const ImgDisk image = TRY(open_img(engine, command.common, name, {}));
  ImageInfo info;
  info.path = name.path;
  info.size_bytes = image.disk->size_bytes();
  TRY(engine.run_until_done(image.disk->close()));
  return info;
}

Result<std::vector<ImageInfo>> read_chain(blockcore::IoEngine& engine, const InfoCommand& command,
                                          const ImgName& name) {
  std::vector<ImageInfo> chain;
  if (blockcore::nbd::is_url(name.path)) {
    chain.push_back(TRY(read_export(engine, command, name)));
    return chain;
  }
  std::vector<blockcore::FileIdentity> seen;
  std::optional<std::string> path = name.path;
  std::optional<DiskFormat> format = name.format;
  while (path) {
    const bool lock = name.lock && !command.common.force_share && !name.force_share;
    Result<Opened> opened = read_one(engine, *path, format, lock);
    if (!opened) return std::unexpected(with_force_share(opened.error()));
    Opened& one = *opened;
    if (std::find(seen.begin(), seen.end(), one.identity) != seen.end())
      return fail(ErrorKind::kInvalidFormat, "Backing file '{}' creates an infinite loop.", *path);
    if (seen.size() == blockcore::kMaxChainLength)
      return fail(ErrorKind::kInvalidFormat,
                  "{}: the chain of backing files has more than {} levels", name.path,
                  blockcore::kMaxChainLength);
    seen.push_back(one.identity);
    path = command.backing_chain ? one.info.backing_path : std::nullopt;
    format.reset();
    if (path && one.info.header && one.info.header->backing_format)
      format = TRY(parse_img_format(*path, *one.info.header->backing_format));
    chain.push_back(std::move(one.info));
  }
  return chain;
}

Result<blockcore::DiskContents> look_inside(blockcore::IoEngine& engine, const InfoCommand& command,
                                            const ImgName& name) {
  const ImgDisk image = TRY(open_img(engine, command.common, name, {}));
  auto contents = engine.run_until_done(blockcore::read_contents(*image.disk));
  TRY(engine.run_until_done(image.disk->close()));
  return contents;
}

Result<Facts> find_facts(InfoCommand& command) {
  TRY(command.common.finish());
  const ImgName name = TRY(parse_img_name(command.path, command.format, command.common.image_opts));
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  Facts facts;
  facts.chain = TRY(read_chain(*engine, command, name));
  if (command.contents) facts.contents = TRY(look_inside(*engine, command, name));
  return facts;
}

}  // namespace

int img_info(Arguments arguments) {
  InfoCommand command;
  CommandLine app("Says what an image is. Opens nothing that it refers to unless asked.",
                  "hull img info");
  app.add_option("FILE", command.path, "the image").required();
  app.add_option("-f,--format raw|qcow2", command.format,
                 "its format: raw or qcow2; looks if absent");
  app.add_option("--output", command.output, "human (default) or json").one_of({"human", "json"});
  app.add_flag("--backing-chain", command.backing_chain, "and its backing files");
  app.add_flag("--contents", command.contents,
               "and what is on the disk: partitions and file systems; opens the backing files");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto facts = find_facts(command);
  if (!facts) return img_fail(facts.error());
  const auto* const contents = facts->contents ? &*facts->contents : nullptr;
  if (command.output == "json") {
    fmt::print("{}", info_json(facts->chain, command.backing_chain, contents));
    return 0;
  }
  for (size_t i = 0; i < facts->chain.size(); ++i) {
    fmt::print("{}{}", i == 0 ? "" : "\n", info_text(facts->chain[i]));
    if (i == 0 && contents != nullptr) fmt::print("{}", contents_text(*contents));
  }
  return 0;
}

}  // namespace hull::cli
