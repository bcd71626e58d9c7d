// hull img convert [-c] [-n] [-f FMT] [-O FMT] [-o OPTIONS] [-B BASE -F FMT] FILE... OUTPUT

#include "base/text.h"
#include "blockcore/format_table.h"
#include "blockcore/image/copy_bitmaps.h"
#include "blockcore/image/joined_disk.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_copy.h"
#include "tools/hull/img_create_options.h"

namespace hull::cli {
namespace {

using blockcore::CacheMode;
using blockcore::CopyOptions;
using blockcore::CreateImageOptions;
using blockcore::IoEngine;
using blockcore::Preallocation;

constexpr uint64_t kMaxCoroutines = 16;
constexpr uint64_t kMaxSparseBytes = 16 << 20;

struct ConvertCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::vector<std::string> files;  // the last is the target
  std::string format;
  std::string output_format;
  std::optional<std::string> backing;
  std::string backing_format;
  std::vector<std::string> options;
  std::string cache = "unsafe";
  std::string source_cache = "writeback";
  std::string sparse;
  std::string coroutines;
  std::string rate;
  std::optional<std::string> snapshot;
  bool compress = false;
  bool no_create = false;
  bool out_of_order = false;
  bool salvage = false;
  bool target_is_zero = false;
  bool target_image_opts = false;
  bool bitmaps = false;
  bool skip_broken_bitmaps = false;
  bool offload = false;
};

Result<void> check_command(const ConvertCommand& command) {
  const bool has_backing = command.backing.has_value();
  if (has_backing && command.backing->empty())
    return fail(ErrorKind::kUsage, "Expected backing file name, got empty string");
  if (command.files.size() < 2) return std::unexpected(with_hint({"Must specify image file name"}));
  if (command.no_create && !command.options.empty())
    return fail(ErrorKind::kUsage, "-o has no effect when skipping image creation");
  if (command.target_is_zero && !command.no_create)
    return fail(ErrorKind::kUsage, "--target-is-zero requires use of -n flag");
  if (command.target_image_opts && !command.no_create)
    return fail(ErrorKind::kUsage, "--target-image-opts requires use of -n flag");
  if (command.target_is_zero && has_backing)
    return fail(ErrorKind::kUsage,
                "Cannot use --target-is-zero when the destination image has a backing file");
  if (command.snapshot && command.files.size() > 2)
    return fail(ErrorKind::kUsage, "No support for concatenating multiple snapshot");
  if (command.offload && command.compress)
    return fail(ErrorKind::kUsage, "Cannot enable copy offloading when -c is used");
  if (command.offload && !command.sparse.empty())
    return fail(ErrorKind::kUsage, "Cannot enable copy offloading when -S is used");
  if (command.offload && command.salvage)
    return fail(ErrorKind::kUsage, "Cannot use copy offloading in salvaging mode");
  if (command.skip_broken_bitmaps && !command.bitmaps)
    return fail(ErrorKind::kUsage, "Use of --skip-broken-bitmaps requires --bitmaps");
  if (command.bitmaps && command.files.size() > 2)
    return fail(ErrorKind::kUsage, "Copying bitmaps only possible with single source");
  if (has_backing && command.files.size() > 2)
    return fail(ErrorKind::kUsage,
                "Having a backing file for the target makes no sense when "
                "concatenating multiple input images");
  return {};
}

Result<uint64_t> sparse_bytes(const ConvertCommand& command) {
  if (command.sparse.empty()) return 4096;
  const auto bytes = parse_img_size(command.sparse);
  if (!bytes || *bytes % 512 != 0 || *bytes > kMaxSparseBytes)
    return fail(ErrorKind::kUsage,
                "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 "
                "up to {}. Select 0 to disable sparse detection (fully allocates output).",
                kMaxSparseBytes);
  return *bytes == 0 ? 0 : std::bit_floor(*bytes);
}

// The local files that the sources are made of.
using SourceFiles = std::vector<blockcore::ChainFile>;

Result<CreateImageOptions> create_options(const ConvertCommand& command, uint64_t size_bytes,
                                          const SourceFiles& sources) {
  CreateImageOptions create;
  create.path = TRY(parse_img_path(command.files.back()));
  create.keep_off = sources;
  create.format = TRY(
      parse_img_format(create.path, command.output_format.empty() ? "raw" : command.output_format));
  create.size_bytes = size_bytes;
  TRY(set_create_options(command.options, create, command.common.secrets));
  create.size_bytes = std::max(create.size_bytes.value_or(0), size_bytes);
  if (command.backing) create.qcow2.backing_name = *command.backing;
  if (!command.backing_format.empty()) create.qcow2.backing_format = command.backing_format;
  if (create.qcow2.backing_name.empty()) {
    TRY(check_backing_words(create));
    return create;
  }
  if (!blockcore::driver_of(create.format).has.backing)
    return fail(ErrorKind::kUsage, "{}: Backing file not supported for file format '{}'",
                create.path, img_format_name(create.format));
  if (create.qcow2.backing_format.empty())
    return fail(ErrorKind::kUsage, "{}: backing format must be specified with -F", create.path);
  return create;
}

Result<ImgTarget> prepare_target(IoEngine& engine, const ConvertCommand& command,
                                 uint64_t size_bytes, CacheMode cache, const SourceFiles& sources,
                                 bool& has_backing) {
  ImgTarget target;
  if (command.no_create) {
    const ImgName name = TRY(parse_img_name(command.files.back(),
                                            command.target_image_opts       ? ""
                                            : command.output_format.empty() ? "raw"
                                                                            : command.output_format,
                                            command.target_image_opts));
    const SourceFiles written =
        engine.run_until_done(blockcore::written_files(engine, name.path, name.format));
    TRY(blockcore::check_apart(written, sources));
    target = TRY(open_img_target(engine, command.common, name, cache));
    target.is_zero = command.target_is_zero;
    has_backing = command.backing.has_value();
  } else {
    const CreateImageOptions create = TRY(create_options(command, size_bytes, sources));
    has_backing = !create.qcow2.backing_name.empty();
    if (command.compress && create.qcow2.preallocation != Preallocation::kOff)
      return fail(ErrorKind::kUsage,
                  "Compression and preallocation not supported at the same time");
    if (command.compress && !blockcore::driver_of(create.format).has.compression)
      return fail(ErrorKind::kUsage, "Compression not supported for this file format");
    target = TRY(make_img_target(engine, command.common, create, cache));
  }
  if (command.compress && target.image.qcow2 == nullptr)
    return fail(ErrorKind::kUsage, "Compression not supported for this file format");
  if (command.bitmaps &&
      (target.image.qcow2 == nullptr || target.image.qcow2->header().version < 3))
    return fail(ErrorKind::kUnsupported, "Format driver '{}' does not support bitmaps",
                img_format_name(target.image.format));
  if (target.image.disk->size_bytes() < size_bytes)
    return fail(ErrorKind::kUsage, "output file is smaller than input file");
  return target;
}

// Called for inconsistent bitmaps; empty if they are errors.
blockcore::SkippedBitmap skipped_bitmap(const ConvertCommand& command) {
  if (!command.skip_broken_bitmaps) return {};
  return [](const std::string& name) {
    img_warn(fmt::format("Skipping inconsistent bitmap '{}'", name));
  };
}

Result<std::vector<ImgDisk>> open_sources(IoEngine& engine, const ConvertCommand& command,
                                          const ImgOpen& how, SourceFiles& files) {
  std::vector<ImgDisk> sources;
  for (size_t i = 0; i + 1 < command.files.size(); ++i) {
    const ImgName name =
        TRY(parse_img_name(command.files[i], command.format, command.common.image_opts));
    sources.push_back(TRY(open_img(engine, command.common, name, how)));
    const SourceFiles chain =
        engine.run_until_done(blockcore::chain_files(engine, name.path, sources.back().format));
    files.insert(files.end(), chain.begin(), chain.end());
  }
  if (!command.bitmaps) return sources;
  if (sources[0].qcow2 == nullptr)
    return fail(ErrorKind::kUnsupported, "Source lacks bitmap support");
  TRY(engine.run_until_done(blockcore::check_bitmaps(*sources[0].qcow2, skipped_bitmap(command))));
  return sources;
}

Result<void> convert_now(ConvertCommand& command) {
  TRY(check_command(command));
  TRY(command.common.finish());
  const CacheMode cache = TRY(parse_img_cache(command.cache));
  const CacheMode source_cache = TRY(parse_img_cache(command.source_cache));
  CopyOptions copy;
  copy.sparse_bytes = TRY(sparse_bytes(command));
  if (!command.coroutines.empty())
    copy.chunks_in_flight = static_cast<unsigned>(
        TRY(parse_img_number(command.coroutines, "number of coroutines", 1, kMaxCoroutines)));
  copy.salvage = command.salvage;
  copy.look_for_zeros = !command.offload;
  copy.offload = command.offload;
  if (!command.rate.empty()) copy.bytes_per_second = TRY(parse_img_size(command.rate));

  const auto engine = TRY(make_copy_engine(source_cache, cache));
  const auto workers = TRY(make_copy_workers(*engine));
  copy.workers = workers.get();
  ImgOpen how{.cache = source_cache, .workers = workers.get()};
  if (command.snapshot) how.snapshot = TRY(parse_img_snapshot(*command.snapshot));
  SourceFiles files;
  const std::vector<ImgDisk> sources = TRY(open_sources(*engine, command, how, files));
  uint64_t size_bytes = 0;
  for (const ImgDisk& source : sources) size_bytes += source.disk->size_bytes();
  bool has_backing = false;
  const ImgTarget target =
      TRY(prepare_target(*engine, command, size_bytes, cache, files, has_backing));
  suit_target(target, copy);
  // What the source has from its backing file, the target has from its own.
  if (has_backing) copy.shared_depth = 1;
  if (command.compress) copy.compress_into = target.image.qcow2;
  ImgProgress progress(command.progress, command.common.quiet);
  copy.unreadable = [&command](uint64_t offset, const Error& error) {
    if (!command.common.quiet)
      img_warn(fmt::format("error while reading offset {}: {}", offset, error.message()));
  };
  copy.length = size_bytes;
  copy.progress = [&progress, size_bytes](uint64_t done) { progress.update(done, size_bytes); };
  if (sources.size() == 1) {
    copy.streams_from = sources[0].qcow2;
    TRY(engine->run_until_done(blockcore::copy_disk(*sources[0].disk, *target.image.disk, copy)));
  } else {
    std::vector<blockcore::Disk*> disks;
    disks.reserve(sources.size());
    for (const ImgDisk& source : sources) disks.push_back(source.disk.get());
    blockcore::JoinedDisk joined(disks);
    TRY(engine->run_until_done(blockcore::copy_disk(joined, *target.image.disk, copy)));
  }
  if (command.bitmaps)
    TRY(engine->run_until_done(
        blockcore::copy_bitmaps(*sources[0].qcow2, *target.image.qcow2, skipped_bitmap(command))));
  TRY(engine->run_until_done(target.image.disk->close()));
  for (const ImgDisk& source : sources) TRY(engine->run_until_done(source.disk->close()));
  progress.finish();
  return {};
}

void add_options(CommandLine& app, ConvertCommand& command) {
  app.add_option("FILE", command.files, "the images to read, one after the other, and the target");
  app.add_option("-f raw|qcow2", command.format, "format of FILE: raw or qcow2; looks if absent");
  app.add_option("-O raw|qcow2", command.output_format,
                 "format of the target: raw (default) or qcow2");
  app.add_option("-B FILE", command.backing,
                 "backing file of the target, with the contents of that of FILE");
  app.add_option("-F raw|qcow2", command.backing_format, "format of the backing file");
  app.add_option("-o KEY=VALUE,...", command.options,
                 "KEY=VALUE,…: options of the target, as for create");
  app.add_flag("-c", command.compress, "compress (qcow2)");
  app.add_flag("-n", command.no_create, "the target exists");
  app.add_option("-l SNAPSHOT", command.snapshot,
                 "of FILE at this snapshot: an id, a name or snapshot.id=ID,snapshot.name=NAME");
  app.add_flag("-C", command.offload,
               "let the kernel copy, which may share blocks; zeros in data are not looked for");
  app.add_flag("--bitmaps", command.bitmaps, "copy the persistent bitmaps too (qcow2)");
  app.add_flag("--skip-broken-bitmaps", command.skip_broken_bitmaps,
               "with --bitmaps: leave out inconsistent ones");
  app.add_option("-S SIZE", command.sparse, "zeros of this many bytes are left out; 0: none (4k)");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode of the target (unsafe)");
  app.add_option("-T none|writeback|writethrough|directsync|unsafe", command.source_cache,
                 "cache mode of FILE (writeback)");
  app.add_option("-m N", command.coroutines, "chunks in flight, 1 to 16");
  app.add_flag("-W", command.out_of_order, "accepted; never needed for speed");
  app.add_option("-r RATE", command.rate, "at most this many bytes a second");
  app.add_flag("--salvage", command.salvage, "go on after read errors, with zeros");
  app.add_flag("--target-is-zero", command.target_is_zero, "with -n: the target holds zeros");
  app.add_flag("--target-image-opts", command.target_image_opts,
               "with -n: the target's name is node options");
  command.common.add_options(app);
  command.progress.add_options(app);
}

}  // namespace

int img_convert(Arguments arguments) {
  ConvertCommand command;
  CommandLine app("Copies images into one of any format.", "hull img convert");
  add_options(app, command);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (wants_option_list(command.options))
    return print_create_options(command.output_format.empty() ? "raw" : command.output_format);
  const auto converted = convert_now(command);
  return converted ? 0 : img_fail(converted.error());
}

}  // namespace hull::cli
