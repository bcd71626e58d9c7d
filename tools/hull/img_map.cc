// hull img map [-f FMT] [--output=human|json] [--start-offset=N] [--max-length=N] FILE
#include <algorithm>

#include "base/text.h"
#include "tools/hull/command_line.h"
#include "tools/hull/img.h"
#include "tools/hull/img_open.h"

namespace hull::cli {
namespace {

using blockcore::BlockStatus;
using blockcore::Disk;
using blockcore::IoEngine;
using blockcore::Task;

struct MapCommand {
  ImgCommon common;
  std::string file;
  std::string format;
  std::string output = "human";
  std::string start = "0";
  std::string length;
};

// As printf's %#x has it: zero without a prefix.
std::string hex(uint64_t value) { return value == 0 ? "0" : fmt::format("{:#x}", value); }

// One line for each stretch that is alike, with qemu-img's words.
class MapPrinter {
 public:
  explicit MapPrinter(bool json) : json_(json) {
    if (json_)
      fmt::print("[");
    else
      fmt::print("{:<16}{:<16}{:<16}{}\n", "Offset", "Length", "Mapped to", "File");
  }
  Result<void> add(uint64_t start, const BlockStatus& status) {
    if (current_.length != 0 && continues(status)) {
      current_.length += status.length;
      return {};
    }
    if (auto printed = print(); !printed) return printed;
    start_ = start;
    current_ = status;
    return {};
  }
  Result<void> finish() {
    if (auto printed = print(); !printed) return printed;
    if (json_) fmt::print("]\n");
    return {};
  }

 private:
  bool continues(const BlockStatus& status) const {
    return current_.is_like(status) &&
           (!status.host_offset || *current_.host_offset + current_.length == *status.host_offset);
  }
  Result<void> print() {
    if (current_.length == 0) return {};
    if (json_) {
      print_json();
      return {};
    }
    if (!current_.data || current_.zero) return {};
    if (!current_.host_offset)
      return fail(ErrorKind::kUnsupported,
                  "File contains external, encrypted or compressed clusters.");
    fmt::print("{:<16}{:<16}{:<16}{}\n", hex(start_), hex(current_.length),
               hex(*current_.host_offset), printable(current_.path));
    return {};
  }
  void print_json() {
    fmt::print(
        "{}{{ \"start\": {}, \"length\": {}, \"depth\": {}, \"present\": {}, \"zero\": {}, "
        "\"data\": {}",
        first_ ? "" : ",\n", start_, current_.length, current_.depth, current_.present,
        current_.zero, current_.data);
    if (current_.host_offset) fmt::print(", \"offset\": {}", *current_.host_offset);
    fmt::print("}}");
    first_ = false;
  }

  const bool json_;
  bool first_ = true;
  uint64_t start_ = 0;
  BlockStatus current_;
};

Task<Result<void>> print_map(Disk& disk, uint64_t start, uint64_t end, bool json) {
  MapPrinter printer(json);
  while (start < end) {
    CO_TRY(const BlockStatus status, co_await disk.block_status(start, end - start));
    CO_TRY_VOID(printer.add(start, status));
    start += status.length;
  }
  co_return printer.finish();
}

Result<void> map_now(MapCommand& command) {
  TRY(command.common.finish());
  const uint64_t start = TRY(parse_img_size(command.start));
  uint64_t length = UINT64_MAX;
  if (!command.length.empty()) length = TRY(parse_img_size(command.length));
  const ImgName name = TRY(parse_img_name(command.file, command.format, command.common.image_opts));
  const auto engine = TRY(IoEngine::create(blockcore::IoEngineKind::kThreads));
  const ImgDisk image = TRY(open_img(*engine, command.common, name, {.shares_raw = true}));
  const uint64_t size = image.disk->size_bytes();
  const uint64_t end = start < size && length < size - start ? start + length : size;
  return engine->run_until_done(print_map(*image.disk, start, end, command.output == "json"));
}

}  // namespace

int img_map(Arguments arguments) {
  MapCommand command;
  CommandLine app("Says which parts of an image hold data, and where.", "hull img map");
  app.add_option("FILE", command.file, "the image").required();
  app.add_option("-f,--format raw|qcow2", command.format,
                 "its format: raw or qcow2; looks if absent");
  app.add_option("--output", command.output, "human (default) or json").one_of({"human", "json"});
  app.add_option("-s,--start-offset OFFSET", command.start, "where to begin");
  app.add_option("-l,--max-length LENGTH", command.length, "how far to go");
  command.common.add_options(app);
  if (const auto done = parse_img_words(app, arguments)) return *done;
  const auto mapped = map_now(command);
  return mapped ? 0 : img_fail(mapped.error());
}

}  // namespace hull::cli
