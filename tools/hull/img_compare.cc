// hull img compare [-s] [-f FMT] [-F FMT] FILE FILE
#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "blockcore/engine/iovecs.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_open.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {
namespace {

using blockcore::BlockStatus;
using blockcore::Disk;
using blockcore::IoEngine;
using blockcore::Task;

// Exit codes, as of qemu-img.
constexpr int kIdentical = 0;
constexpr int kDifferent = 1;
constexpr int kOpenFailed = 2;
constexpr int kStatusFailed = 3;
constexpr int kReadFailed = 4;

constexpr uint64_t kStepBytes = 2 << 20;
constexpr uint64_t kSectorBytes = 512;

struct CompareCommand {
  ImgCommon common;
  ImgProgressOptions progress;
  std::string first;
  std::string second;
  std::string first_format;
  std::string second_format;
  std::string cache = "writeback";
  bool strict = false;
};

class Comparer {
 public:
  Comparer(const ImgDisk& first, const ImgDisk& second, const CompareCommand& command)
      : images_{&first, &second},
        command_(command),
        progress_(command.progress, command.common.quiet),
        buffers_{std::vector<std::byte>(kStepBytes), std::vector<std::byte>(kStepBytes)} {}

  Task<int> run() {
    const uint64_t sizes[] = {disk(0).size_bytes(), disk(1).size_bytes()};
    if (command_.strict && sizes[0] != sizes[1]) {
      say("Strict mode: Image size mismatch!");
      co_return kDifferent;
    }
    total_ = std::max(sizes[0], sizes[1]);
    const uint64_t common = std::min(sizes[0], sizes[1]);
    for (uint64_t offset = 0; offset < common && code_ == kIdentical;)
      offset += co_await compare_next(offset, common);
    if (code_ == kIdentical && sizes[0] != sizes[1]) {
      say("Warning: Image size mismatch!");
      co_await expect_zeros(sizes[0] > sizes[1] ? 0 : 1, common, total_);
    }
    if (code_ == kIdentical) {
      progress_.finish();
      say("Images are identical.");
    }
    co_return code_;
  }

 private:
  Disk& disk(size_t which) const { return *images_[which]->disk; }
  void say(std::string_view text) const {
    if (!command_.common.quiet) fmt::print("{}\n", printable(text));
  }
  void differ(uint64_t offset) {
    say(fmt::format("Content mismatch at offset {}!", offset / kSectorBytes * kSectorBytes));
    code_ = kDifferent;
  }
  uint64_t fail_with(const Error& error, int code) {
    img_fail(error);
    code_ = code;
    return 0;
  }

  // How far it came; what it found is in code_.
  Task<uint64_t> compare_next(uint64_t offset, uint64_t end) {
    BlockStatus status[2];
    for (size_t i = 0; i < 2; ++i) {
      auto found = co_await disk(i).block_status(offset, end - offset);
      if (!found) co_return fail_with(found.error(), kStatusFailed);
      status[i] = *found;
    }
    const uint64_t alike = std::min(status[0].length, status[1].length);
    if (command_.strict && (status[0].data != status[1].data || status[0].zero != status[1].zero ||
                            status[0].present != status[1].present)) {
      say(fmt::format("Strict mode: Offset {} block status mismatch!", offset));
      code_ = kDifferent;
      co_return 0;
    }
    uint64_t length = alike;
    if (status[0].zero != status[1].zero && status[0].present != status[1].present) {
      length = std::min(alike, kStepBytes);
      co_await expect_zeros(status[0].zero ? 1 : 0, offset, offset + length);
    } else if (!status[0].zero || !status[1].zero) {
      length = std::min(alike, kStepBytes);
      co_await compare_bytes(offset, length);
    }
    progress_.update(offset + length, total_);
    co_return length;
  }

  Task<bool> read(size_t which, uint64_t offset, uint64_t length) {
    const iovec buffer{buffers_[which].data(), length};
    const auto got = co_await disk(which).read(offset, {&buffer, 1});
    if (!got)
      fail_with(
          Error(got.error().kind(), fmt::format("Error while reading offset {} of {}: {}", offset,
                                                images_[which]->path, got.error().message())),
          kReadFailed);
    co_return got.has_value();
  }

  Task<void> compare_bytes(uint64_t offset, uint64_t length) {
    for (size_t i = 0; i < 2; ++i) {
      const bool ok = co_await read(i, offset, length);
      if (!ok) co_return;
    }
    const std::byte* const first = buffers_[0].data();
    const std::byte* const second = buffers_[1].data();
    if (std::memcmp(first, second, length) == 0) co_return;
    const auto at =
        static_cast<uint64_t>(std::mismatch(first, first + length, second).first - first);
    differ(offset + at);
  }

  Task<void> expect_zeros(size_t which, uint64_t offset, uint64_t end) {
    while (offset < end && code_ == kIdentical) {
      const auto status = co_await disk(which).block_status(offset, end - offset);
      if (!status) {
        fail_with(status.error(), kStatusFailed);
        co_return;
      }
      uint64_t length = status->length;
      if (!status->zero) {
        length = std::min(length, kStepBytes);
        const bool ok = co_await read(which, offset, length);
        if (!ok) co_return;
        const std::span<const std::byte> data(buffers_[which].data(), length);
        const auto at = std::ranges::find_if(data, [](std::byte b) { return b != std::byte{}; });
        if (at != data.end()) differ(offset + static_cast<uint64_t>(at - data.begin()));
      }
      offset += length;
      progress_.update(offset, total_);
    }
  }

  const ImgDisk* const images_[2];
  const CompareCommand& command_;
  ImgProgress progress_;
  std::vector<std::byte> buffers_[2];
  uint64_t total_ = 0;
  int code_ = kIdentical;
};

Result<int> compare_now(CompareCommand& command) {
  TRY(command.common.finish());
  const auto cache = TRY(parse_img_cache(command.cache));
  const bool node_options = command.common.image_opts;
  const ImgName first = TRY(parse_img_name(command.first, command.first_format, node_options));
  const ImgName second = TRY(parse_img_name(command.second, command.second_format, node_options));
  const auto engine = TRY(IoEngine::create(blockcore::IoEngineKind::kThreads));
  const ImgDisk one = TRY(open_img(*engine, command.common, first, {.cache = cache}));
  const ImgDisk two = TRY(open_img(*engine, command.common, second, {.cache = cache}));
  Comparer comparer(one, two, command);
  return engine->run_until_done(comparer.run());
}

}  // namespace

int img_compare(Arguments arguments) {
  CompareCommand command;
  CommandLine app("Says whether two images have the same contents.", "hull img compare");
  app.footer(
      "Exit status: 0 identical, 1 different, 2 an image cannot be opened, 3 its allocation or 4 "
      "its data cannot be read.");
  app.add_option("FILE1", command.first, "one image").required();
  app.add_option("FILE2", command.second, "the other").required();
  app.add_option("-f raw|qcow2", command.first_format,
                 "format of FILE1: raw or qcow2; looks if absent");
  app.add_option("-F raw|qcow2", command.second_format, "format of FILE2");
  app.add_option("-T none|writeback|writethrough|directsync|unsafe", command.cache,
                 "cache mode (writeback)");
  app.add_flag("-s", command.strict, "sizes and allocation must be alike, too");
  command.common.add_options(app);
  command.progress.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto compared = compare_now(command);
  if (compared) return *compared;
  img_fail(compared.error());
  return kOpenFailed;
}

}  // namespace hull::cli
