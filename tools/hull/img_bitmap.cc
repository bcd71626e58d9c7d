// hull img bitmap (--add | --remove | --clear | --enable | --disable | --merge SOURCE)...
//                 [-b FILE [-F FMT]] [-g GRANULARITY] FILE BITMAP
#include <bit>

#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/edit/bitmap_store.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_options.h"

namespace hull::cli {
namespace {

using namespace blockcore;
using qcow2::Bitmap;
using qcow2::BitmapBits;
using qcow2::StoredBitmap;

struct BitmapAction {
  std::string name;    // add, remove, …
  std::string source;  // of merge
};

struct BitmapCommand {
  ImgCommon common;
  std::string file;
  std::string format;
  std::string bitmap;
  std::string granularity;
  std::string source_file;
  std::string source_format;
  std::vector<BitmapAction> actions;
};

// The bitmaps of an image while they are changed in memory.
struct Editor {
  Qcow2Disk& disk;
  Qcow2Disk* source_disk;  // where merged bitmaps come from, if not from `disk`
  std::vector<StoredBitmap> bitmaps = {};

  File& file() const { return *disk.parts().image.file; }
  Result<size_t> find(const std::string& name) const {
    for (size_t i = 0; i < bitmaps.size(); ++i)
      if (bitmaps[i].bitmap.name == name) return i;
    return fail(ErrorKind::kInvalidConfig, "Dirty bitmap '{}' not found", name);
  }
};

Result<void> check_consistent(const Bitmap& bitmap) {
  if (!bitmap.in_use) return {};
  return fail_lines(ErrorKind::kCorrupt,
                    fmt::format("Bitmap '{}' is inconsistent and cannot be used", bitmap.name),
                    "'hull img bitmap --remove' deletes it");
}

Task<Result<std::vector<StoredBitmap>>> read_bitmaps(Qcow2Disk& disk) {
  std::vector<StoredBitmap> bitmaps;
  CO_TRY(qcow2::BitmapDirectory directory,
         co_await read_bitmap_directory(*disk.parts().image.file, disk.header()));
  bitmaps.reserve(directory.bitmaps.size());
  for (Bitmap& bitmap : directory.bitmaps) bitmaps.push_back({std::move(bitmap)});
  co_return bitmaps;
}

Task<Result<BitmapBits>> bits_of(Qcow2Disk& disk, const StoredBitmap& stored) {
  if (stored.bits) co_return *stored.bits;
  co_return co_await load_bits(*disk.parts().image.file, disk.header(), stored.bitmap);
}

Result<uint32_t> granularity_bits(const BitmapCommand& command, const qcow2::Header& header) {
  if (command.granularity.empty()) return std::max(header.geometry.cluster_bits, 12U);
  const uint64_t bytes = TRY(parse_img_size(command.granularity));
  if (!std::has_single_bit(bytes) || bytes < 512 ||
      bytes > uint64_t{1} << qcow2::kMaxBitmapGranularityBits)
    return fail(ErrorKind::kUsage, "Granularity must be power of 2 and at least 512");
  return static_cast<uint32_t>(std::countr_zero(bytes));
}

Result<void> add(Editor& editor, const BitmapCommand& command) {
  const qcow2::Header& header = editor.disk.header();
  Bitmap bitmap{.name = command.bitmap, .enabled = true};
  bitmap.granularity_bits = TRY(granularity_bits(command, header));
  if (bitmap.name.empty()) return fail(ErrorKind::kUsage, "Bitmap name cannot be empty");
  if (editor.find(bitmap.name))
    return fail(ErrorKind::kInvalidConfig, "Bitmap already exists: {}", bitmap.name);
  if (bitmap.name.size() > qcow2::kMaxBitmapNameBytes)
    return fail(ErrorKind::kUsage, "Name length exceeds maximum (1023 characters)");
  if (header.version < 3)
    return fail(ErrorKind::kUnsupported, "Cannot store dirty bitmaps in qcow2 v2 files");
  // Its table would be empty, which neither QEMU nor hull reads (qcow2 specification, Bitmaps).
  if (header.size_bytes == 0)
    return fail(ErrorKind::kUnsupported, "A disk of 0 bytes has no dirty bitmaps");
  BitmapBits bits(qcow2::bitmap_bytes(header.size_bytes, bitmap.granularity_bits));
  editor.bitmaps.push_back({std::move(bitmap), std::move(bits)});
  return {};
}

Task<Result<void>> merge(Editor& editor, StoredBitmap& target, std::string source_name) {
  Editor source{editor.source_disk == nullptr ? editor.disk : *editor.source_disk, nullptr};
  if (editor.source_disk == nullptr) {
    source.bitmaps = editor.bitmaps;
  } else {
    CO_TRY(source.bitmaps, co_await read_bitmaps(source.disk));
  }
  CO_TRY(const size_t index, source.find(source_name));
  const StoredBitmap& from = source.bitmaps[index];
  CO_TRY_VOID(check_consistent(from.bitmap));
  const uint64_t disk_bytes = editor.disk.size_bytes();
  if (disk_bytes != source.disk.size_bytes())
    co_return fail(ErrorKind::kInvalidConfig,
                   "Bitmaps are of different sizes (destination size is {} bytes) and can't be "
                   "merged",
                   disk_bytes);
  CO_TRY(const BitmapBits from_bits, co_await bits_of(source.disk, from));
  CO_TRY(BitmapBits bits, co_await bits_of(editor.disk, target));
  qcow2::merge_bits(bits, target.bitmap.granularity_bits, from_bits, from.bitmap.granularity_bits,
                    disk_bytes);
  target.bits = std::move(bits);
  co_return {};
}

Task<Result<void>> perform(Editor& editor, const BitmapCommand& command,
                           const BitmapAction& action) {
  if (action.name == "add") co_return add(editor, command);
  CO_TRY(const size_t index, editor.find(command.bitmap));
  if (action.name == "remove") {
    editor.bitmaps.erase(editor.bitmaps.begin() + static_cast<ptrdiff_t>(index));
    co_return {};
  }
  StoredBitmap& target = editor.bitmaps[index];
  CO_TRY_VOID(check_consistent(target.bitmap));
  if (action.name == "merge") co_return co_await merge(editor, target, action.source);
  if (action.name == "clear")
    target.bits.emplace(
        qcow2::bitmap_bytes(editor.disk.size_bytes(), target.bitmap.granularity_bits));
  else
    target.bitmap.enabled = action.name == "enable";
  co_return {};
}

Task<Result<void>> edit(Editor& editor, const BitmapCommand& command) {
  CO_TRY(editor.bitmaps, co_await read_bitmaps(editor.disk));
  for (const BitmapAction& action : command.actions) {
    auto performed = co_await perform(editor, command, action);
    if (!performed)
      co_return std::move(performed).with_context(
          fmt::format("Operation {} on bitmap {} failed", action.name, command.bitmap));
  }
  CO_TRY_VOID(co_await save_bitmaps(editor.disk.parts(), std::move(editor.bitmaps)));
  co_return co_await editor.disk.close();
}

Result<std::unique_ptr<Qcow2Disk>> open_one(IoEngine& engine, const ImgName& name, bool read_only,
                                            bool lock) {
  return engine.run_until_done(
      open_single_qcow2(engine, {.path = name.path,
                                 .format = name.format,
                                 .cache = name.cache.value_or(CacheMode::kWriteback),
                                 .read_only = read_only,
                                 .lock = lock}));
}

Result<void> bitmap_now(BitmapCommand& command) {
  TRY(command.common.finish());
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  if (command.common.force_share)
    return fail(ErrorKind::kUsage, "{}: -U is for images that are only read", name.path);
  const auto engine = TRY(IoEngine::create(IoEngineKind::kThreads));
  const auto disk = TRY(open_one(*engine, name, false, true));
  std::unique_ptr<Qcow2Disk> source;
  if (!command.source_file.empty()) {
    const ImgName from = TRY(parse_img_name(command.source_file, command.source_format, false));
    source = TRY(open_one(*engine, from, true, true));
  }
  Editor editor{*disk, source.get()};
  return engine->run_until_done(edit(editor, command));
}

// In the order of the command line.
void collect_actions(const CommandLine& app, BitmapCommand& command) {
  for (const auto& [name, value] : app.in_order()) {
    if (name == "merge")
      command.actions.push_back({name, value});
    else if (name == "add" || name == "remove" || name == "clear" || name == "enable" ||
             name == "disable")
      command.actions.push_back({name, ""});
  }
}

Result<void> check_words(const BitmapCommand& command) {
  const auto has = [&command](std::string_view name) {
    return std::ranges::any_of(command.actions,
                               [name](const BitmapAction& one) { return one.name == name; });
  };
  if (command.actions.empty())
    return fail(ErrorKind::kUsage,
                "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
  if (!command.granularity.empty() && !has("add"))
    return fail(ErrorKind::kUsage, "granularity only supported with --add");
  if (!command.source_file.empty() && !has("merge"))
    return fail(ErrorKind::kUsage, "Merge bitmap source file only supported with --merge");
  if (!command.source_format.empty() && command.source_file.empty())
    return fail(ErrorKind::kUsage, "-F only supported with -b");
  return {};
}

}  // namespace

int img_bitmap(Arguments arguments) {
  BitmapCommand command;
  CommandLine app("Changes the persistent dirty bitmaps of an image.", "hull img bitmap");
  app.add_option("FILE", command.file, "the image").required();
  app.add_option("BITMAP", command.bitmap, "the bitmap").required();
  app.add_option("-f raw|qcow2", command.format, "the format of the image; looks if absent");
  for (const auto& [option, what] :
       {std::pair{"--add", "make it, enabled"}, std::pair{"--remove", "delete it"},
        std::pair{"--clear", "forget what it recorded"},
        std::pair{"--enable", "record what a guest writes"},
        std::pair{"--disable", "record no longer"}})
    app.add_action(option, what);
  app.add_action("--merge", "SOURCE", "also record what this bitmap has recorded");
  app.add_option("-g,--granularity SIZE", command.granularity, "bytes for a bit (with --add)");
  app.add_option("-b,--source-file FILE", command.source_file, "the image that holds SOURCE");
  app.add_option("-F,--source-format raw|qcow2", command.source_format, "its format");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  collect_actions(app, command);
  auto done = check_words(command);
  if (done) done = bitmap_now(command);
  return done ? 0 : img_fail(done.error());
}

}  // namespace hull::cli
