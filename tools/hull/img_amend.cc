// hull img amend -o OPTIONS [-p] [-q] [-f FMT] [-t CACHE] [--force] FILE
#include <bit>

#include "blockcore/format_table.h"
#include "blockcore/image/amend.h"
#include "blockcore/image/resize.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_create_options.h"
#include "tools/hull/img_open.h"
#include "tools/hull/img_options.h"
#include "tools/hull/img_progress.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {
namespace {

using blockcore::AmendOptions;

struct AmendCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::string file;
  std::string format;
  std::string cache = "writeback";
  std::vector<std::string> options;
};

struct Amendment {
  AmendOptions options;
  std::optional<uint64_t> size_bytes;
};

Result<bool> on_or_off(const Suboption& option) {
  if (option.value == "on" || option.value == "off") return option.value == "on";
  return fail(ErrorKind::kUsage, "Parameter '{}' expects 'on' or 'off'", option.key);
}

Result<uint32_t> refcount_order(const Suboption& option) {
  const uint64_t bits = TRY(parse_img_size(option.value));
  if (!std::has_single_bit(bits) || bits > 64)
    return fail(ErrorKind::kUsage,
                "Refcount width must be a power of two and may not exceed 64 bits");
  return static_cast<uint32_t>(std::countr_zero(bits));
}

int print_amend_options() {
  fmt::print(
      "Supported options:\n"
      "  compat=<str>                   - version: 0.10 or 1.1\n"
      "  data_file=<str>                - another name for the external data file\n"
      "  data_file_raw=<bool (on/off)>  - off: it alone need not read as the disk\n"
      "  lazy_refcounts=<bool (on/off)> - a mark for other programs\n"
      "  refcount_bits=<num>            - 1 to 64\n"
      "  size=<size>                    - of the disk\n");
  return 0;
}

// What an image keeps from its creation to its end.
Result<void> refuse(const Suboption& option) {
  const std::string& key = option.key;
  if (key == "backing_file" || key == "backing_fmt")
    return fail_lines(ErrorKind::kUsage, "Cannot amend the backing file",
                      "You can use 'hull img rebase' instead.");
  for (const char* of_creation :
       {"cluster_size", "preallocation", "extended_l2", "compression_type", "encryption"})
    if (key == of_creation)
      return fail_lines(ErrorKind::kUsage, fmt::format("Invalid parameter '{}'", key),
                        "This option is only supported for image creation");
  return fail(ErrorKind::kUsage, "Invalid parameter '{}'", key);
}

Result<void> set_option(const Suboption& option, Amendment& amendment) {
  const std::string& key = option.key;
  if (key == "compat") {
    const bool old = option.value == "0.10" || option.value == "v2";
    if (!old && option.value != "1.1" && option.value != "v3")
      return fail(ErrorKind::kUsage, "Unknown compatibility level {}", option.value);
    amendment.options.version = old ? 2 : 3;
  } else if (key == "lazy_refcounts") {
    amendment.options.lazy_refcounts = TRY(on_or_off(option));
  } else if (key == "refcount_bits") {
    amendment.options.refcount_order = TRY(refcount_order(option));
  } else if (key == "data_file") {
    amendment.options.data_file = option.value;
  } else if (key == "data_file_raw") {
    amendment.options.data_file_raw = TRY(on_or_off(option));
  } else if (key == "size") {
    amendment.size_bytes = TRY(parse_img_size(option.value));
  } else {
    return refuse(option);
  }
  return {};
}

Result<void> resize_now(blockcore::IoEngine& engine, const Amendment& amendment) {
  if (!amendment.size_bytes) return {};
  blockcore::ResizeImageOptions resize{.path = amendment.options.path,
                                       .format = amendment.options.format};
  resize.cache = amendment.options.cache;
  resize.new_size = [size = *amendment.size_bytes](uint64_t) -> Result<uint64_t> { return size; };
  (void)TRY(engine.run_until_done(blockcore::resize_image(engine, std::move(resize))));
  return {};
}

Result<void> check_amendable(blockcore::DiskFormat format) {
  if (blockcore::driver_of(format).has.amendment) return {};
  return fail(ErrorKind::kUnsupported, "Format driver '{}' does not support option amendment",
              img_format_name(format));
}

Result<void> amend_now(AmendCommand& command) {
  TRY(command.common.finish());
  if (command.file.empty()) return fail(ErrorKind::kUsage, "Expecting one image file name");
  if (command.options.empty()) return std::unexpected(with_hint({"Must specify options (-o)"}));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  if (name.format) TRY(check_amendable(*name.format));
  Amendment amendment;
  for (const std::string& words : command.options)
    for (const Suboption& option : TRY(parse_suboptions(words, "")))
      TRY(set_option(option, amendment));
  amendment.options.path = name.path;
  amendment.options.format = name.format;
  amendment.options.cache = name.cache.value_or(TRY(parse_img_cache(command.cache)));
  ImgProgress progress(command.progress, command.common.quiet);
  progress.update(0, 1);
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  // There may be no file yet of the data file's new name.
  const bool resizes_first = amendment.options.data_file.has_value();
  if (resizes_first) TRY(resize_now(*engine, amendment));
  TRY(engine->run_until_done(blockcore::amend_image(*engine, amendment.options)));
  if (!resizes_first) TRY(resize_now(*engine, amendment));
  progress.finish();
  return {};
}

Result<void> find_format(AmendCommand& command) {
  if (!command.format.empty())
    return check_amendable(TRY(parse_img_format(command.file, command.format)));
  TRY(command.common.finish());
  if (command.file.empty()) return fail(ErrorKind::kUsage, "Expecting one image file name");
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  const auto engine = TRY(blockcore::IoEngine::create(blockcore::IoEngineKind::kThreads));
  ImgDisk opened = TRY(open_img(*engine, command.common, name, {.backing = false}));
  TRY(engine->run_until_done(opened.disk->close()));
  return check_amendable(opened.format);
}

}  // namespace

int img_amend(Arguments arguments) {
  AmendCommand command;
  CommandLine app("Gives an existing image other features.", "hull img amend");
  app.add_option("FILE", command.file, "the image");
  app.add_option("-o KEY=VALUE,...", command.options,
                 "compat=0.10|1.1, lazy_refcounts=on|off, refcount_bits=N, size=SIZE, "
                 "data_file=NAME, data_file_raw=off");
  app.add_option("-f raw|qcow2", command.format, "its format; looks if absent");
  app.add_option("-t none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode (writeback)");
  bool force = false;
  app.add_flag("--force", force, "accepted; nothing needs it");
  command.progress.add_options(app);
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  if (wants_option_list(command.options)) {
    // Which ones there are depends on the format, and that on the file if nobody says it.
    if (const auto known = find_format(command); !known) return img_fail(known.error());
    return print_amend_options();
  }
  const auto done = amend_now(command);
  return done ? 0 : img_fail(done.error());
}

}  // namespace hull::cli
